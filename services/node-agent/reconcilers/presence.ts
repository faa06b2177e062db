// SPDX-License-Identifier: Apache-2.0
/** Tells the event stream that the agent started, and on another machine than before, until that is acknowledged; and once that it stops. */
import { nodeAgentContract } from "@debvisor/proto-events/node-agent";
import type { Bus } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import type { Logger } from "@debvisor/shared/log";
import { rebindTold, untoldRebind } from "@debvisor/shared/machine-binding";
import type { NodeIdentity } from "@debvisor/shared/service";
import { within } from "./repeat.ts";

/** Longest time that stopping waits for the acknowledgement of `agent.stopped`. */
const GOODBYE_MS = 1_000;
/** One try is long, since repeats within it carry one message id and are counted once. */
const PATIENCE_MS = 60_000;
const PAUSE_MS = 5_000;

/** What the announcements need. */
export interface PresenceDeps {
  readonly bus: Pick<Bus, "publishEvent">;
  readonly node: NodeIdentity;
  readonly clock: Clock;
  readonly log: Pick<Logger, "warn">;
  readonly pid: number;
}

/** The announcements of the agent's life. */
export interface Presence {
  /**
   * Publishes `agent.started`, and `key.moved` once after the key was bound to another machine; tries again until each is acknowledged or
   * the signal aborts. Never rejects.
   */
  announce(signal: AbortSignal): Promise<void>;
  /** Publishes `agent.stopped`; gives up after a second. Never rejects. */
  leave(): Promise<void>;
}

/** Makes the announcements for a node. */
export function createPresence({ bus, node, clock, log, pid }: PresenceDeps): Presence {
  const { id, name, version, bootId } = node;
  const told = async (event: string, tell: () => Promise<unknown>, signal: AbortSignal) => {
    while (!signal.aborted) {
      try {
        await tell();
        return;
      } catch (error) {
        log.warn({ err: error }, `${event} was not acknowledged; trying again`);
        await clock.sleep(PAUSE_MS, signal);
      }
    }
  };
  const tellOfRebind = async (options: { subject: string; patienceMs: number }) => {
    const at = untoldRebind(node.dir);
    if (at === undefined) return;
    await bus.publishEvent(nodeAgentContract, "key.moved", { node: id, name, at }, options);
    rebindTold(node.dir, at);
  };
  return {
    announce: async (signal) => {
      const options = { subject: id, patienceMs: PATIENCE_MS };
      const started = { node: id, name, version, bootId, pid };
      await told("agent.started", () => bus.publishEvent(nodeAgentContract, "agent.started", started, options), signal);
      await told("key.moved", () => tellOfRebind(options), signal);
    },
    leave: async () => {
      const options = { subject: id, patienceMs: GOODBYE_MS };
      await within(
        clock,
        GOODBYE_MS,
        bus.publishEvent(nodeAgentContract, "agent.stopped", { node: id, name, bootId }, options),
      );
    },
  };
}
