// SPDX-License-Identifier: Apache-2.0
/**
 * Restarts this host by order of the engine, which asks until it hears another boot id than before. An answer before the
 * restart would prove nothing, so there is none.
 */
import type { hostContract } from "@debvisor/proto-events/host";
import type { Output } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import type { Ledger } from "@debvisor/shared/operation/ledger";
import type { ServiceManager } from "../model/unit-state.ts";
import type { HostEvents } from "../reconcilers/host-events.ts";
import { orderOf, untilAborted } from "./order-of.ts";

type Answer = Output<typeof hostContract, "rebootHost">;

/** Time in which a host that was told to go down does so; less than the caller's patience. */
const DOWN_LIMIT_MS = 8_000;

/** The host when the step was first asked for. */
interface Before {
  readonly bootId: string;
  readonly atMs: number;
}

/** What restarting the host needs. */
export interface RebootHostDeps {
  readonly manager: ServiceManager;
  readonly ledger: Pick<Ledger, "execute">;
  readonly clock: Clock;
  readonly events: Pick<HostEvents, "rebooted">;
  /** Aborts when this service stops, as it does when the host goes down. */
  readonly stopping: AbortSignal;
}

/** The handler. @throws UNAVAILABLE when the host has been told to restart */
export function rebootHostHandler({ manager, ledger, clock, events, stopping }: RebootHostDeps) {
  return async (_input: unknown, context: Pick<RequestContext, "order" | "signal">): Promise<Answer> => {
    const signal = AbortSignal.any([context.signal, stopping]);
    const asItIs = async (): Promise<Answer> => {
      const { bootId } = await manager.boot(signal);
      return { bootIdBefore: bootId, bootId };
    };
    return await untilAborted(signal, () =>
      ledger.execute<Before, Answer>(orderOf(context), {
        before: async () => ({ bootId: (await manager.boot(signal)).bootId, atMs: clock.now() }),
        apply: async (before) => {
          const { bootId, startedAt } = await manager.boot(signal);
          if (bootId !== before.bootId) {
            events.rebooted(Math.max(0, Date.parse(startedAt) - before.atMs));
            return { bootIdBefore: before.bootId, bootId };
          }
          await manager.reboot(signal);
          await clock.sleep(DOWN_LIMIT_MS, signal);
          throw new DvError("UNAVAILABLE", "The host has been told to restart; ask again when it is back.");
        },
        // A restart cannot be undone.
        undo: asItIs,
        nothing: asItIs,
      }),
    );
  };
}
