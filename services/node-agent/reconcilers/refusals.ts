// SPDX-License-Identifier: Apache-2.0
/**
 * Tells of commands that this node refused: an event and a record in the audit trail, at most one of each a second. Whoever
 * sends forged commands by the thousand fills neither; the number of those that it stands for goes along.
 */
import type { RecordBody } from "@debvisor/proto-events/audit";
import { ERROR_CODES, ERROR_KINDS } from "@debvisor/proto-events/errors";
import { hostContract } from "@debvisor/proto-events/host";
import type { Bus, Refusal } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import type { Logger } from "@debvisor/shared/log";
import type { NodeIdentity } from "@debvisor/shared/service";

const EVERY_MS = 1_000;

/** What it needs. */
export interface RefusalsDeps {
  readonly bus: Pick<Bus, "publishEvent" | "onRefused">;
  readonly node: Pick<NodeIdentity, "id">;
  readonly clock: Clock;
  readonly log: Pick<Logger, "warn">;
  /** Writes the record; `count` refusals, of which the first is given. */
  readonly record?: ((refusal: Refusal, count: number) => Promise<unknown>) | undefined;
}

/** The record of refusals in the audit trail. Who it was is only what the envelope claims. */
export function refusalRecord(refusal: Refusal, count: number, node: string): RecordBody {
  const { command, issuer, cause, requestId } = refusal;
  return {
    kind: "refusal",
    ref: requestId || "none",
    actor: issuer ?? "unknown",
    user: null,
    source: null,
    action: command,
    mode: null,
    targets: [node],
    args: { cause, count },
    reason: null,
    override: null,
    planDigest: null,
    operation: null,
    requestId: requestId || null,
    traceId: null,
    result: {
      status: "refused",
      code: "COMMAND_REFUSED",
      exitCode: ERROR_KINDS[ERROR_CODES.COMMAND_REFUSED.kind].exit,
      message: `The node refused ${count === 1 ? "a command" : `${count} commands`}; cause: ${cause}.`,
    },
  };
}

/** Listens until the signal aborts. */
export function reportRefusals({ bus, node, clock, log, record }: RefusalsDeps, signal: AbortSignal): void {
  let first: Refusal | undefined;
  let count = 0;
  let telling = false;
  const tell = async (refusal: Refusal, number: number) => {
    const { command, issuer = null, cause } = refusal;
    const payload = { command, issuer, cause, count: number };
    const told = await Promise.allSettled([
      bus.publishEvent(hostContract, "command.refused", payload, { subject: node.id }),
      record?.(refusal, number),
    ]);
    for (const one of told)
      if (one.status === "rejected")
        log.warn({ err: one.reason as unknown }, "a refused command could not be reported");
  };
  const tellAll = async () => {
    while (first && !signal.aborted) {
      const [refusal, number] = [first, count];
      first = undefined;
      count = 0;
      await tell(refusal, number);
      await clock.sleep(EVERY_MS, signal);
    }
    telling = false;
  };
  bus.onRefused((refusal) => {
    first ??= refusal;
    count++;
    if (telling) return;
    telling = true;
    void tellAll();
  });
}
