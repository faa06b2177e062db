// SPDX-License-Identifier: Apache-2.0
/**
 * Tells the event stream what was done to this host. Nobody waits for it: the log of operations and the audit trail say the
 * same, and an answer to the engine must not depend on the stream.
 */
import { hostContract } from "@debvisor/proto-events/host";
import type { Payload } from "@debvisor/proto-events/kit";
import type { Bus } from "@debvisor/shared/bus/bus";
import type { Logger } from "@debvisor/shared/log";
import type { NodeIdentity } from "@debvisor/shared/service";

/** Events that wait for their acknowledgement at a time; further ones are dropped and logged. */
const MAX_PENDING = 256;

/** What can be told. None of these throws. */
export interface HostEvents {
  /** `id` is the same whenever the same change is told again. */
  fileChanged(payload: Payload<typeof hostContract, "file.changed">, id: string): void;
  rebooted(downMs: number): void;
}

/** What it needs. */
export interface HostEventsDeps {
  readonly bus: Pick<Bus, "publishEvent">;
  readonly node: Pick<NodeIdentity, "id" | "name">;
  readonly log: Pick<Logger, "warn">;
}

/** Makes it for a node. */
export function createHostEvents({ bus, node, log }: HostEventsDeps): HostEvents {
  let pending = 0;
  const tell = (event: "file.changed" | "node.rebooted", publish: () => Promise<unknown>) => {
    if (pending >= MAX_PENDING) {
      log.warn({ event }, "too many events wait for the stream; this one is dropped");
      return;
    }
    pending++;
    publish()
      .catch((error: unknown) => log.warn({ err: error, event }, "the event was not acknowledged"))
      .finally(() => pending--);
  };
  return {
    fileChanged: (payload, id) =>
      tell("file.changed", () => bus.publishEvent(hostContract, "file.changed", payload, { subject: node.id, id })),
    rebooted: (downMs) => {
      const payload = { node: node.id, name: node.name, downMs };
      tell("node.rebooted", () => bus.publishEvent(hostContract, "node.rebooted", payload, { subject: node.id }));
    },
  };
}
