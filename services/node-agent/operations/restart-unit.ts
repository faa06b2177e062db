// SPDX-License-Identifier: Apache-2.0
/**
 * Restarts a service of this host by order of the engine. A restart of the node agent itself takes the answer with it: the
 * engine asks again, and the invocation that the ledger kept from before tells that the restart has been done.
 */
import type { hostContract } from "@debvisor/proto-events/host";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import type { Ledger } from "@debvisor/shared/operation/ledger";
import type { ServiceManager, Unit } from "../model/unit-state.ts";
import { orderOf, untilAborted } from "./order-of.ts";

type C = typeof hostContract;
type Answer = Output<C, "restartUnit">;

const UP_LIMIT_MS = 20_000;
const LOOK_EVERY_MS = 100;

/** What restarting services needs. */
export interface RestartUnitDeps {
  readonly manager: ServiceManager;
  readonly ledger: Pick<Ledger, "execute">;
  readonly clock: Clock;
  /** Aborts when this service stops, which waits for nobody. */
  readonly stopping: AbortSignal;
}

/** The handler. */
export function restartUnitHandler(deps: RestartUnitDeps) {
  const { manager, ledger } = deps;
  return async (
    { unit }: Input<C, "restartUnit">,
    context: Pick<RequestContext, "order" | "signal">,
  ): Promise<Answer> => {
    const signal = AbortSignal.any([context.signal, deps.stopping]);
    const asItIs = async (): Promise<Answer> => {
      const now = await manager.get(unit, signal);
      return { before: now, after: now };
    };
    return await untilAborted(signal, () =>
      ledger.execute<Unit, Answer>(orderOf(context), {
        before: () => manager.get(unit, signal),
        apply: async (before) => {
          const now = await manager.get(unit, signal);
          const down = now.state === "stopped" || now.state === "failed";
          if (down || now.invocation === before.invocation) await manager.restart(unit, signal);
          return { before, after: await untilUp(deps, unit, before.invocation, signal) };
        },
        // A restart cannot be undone.
        undo: asItIs,
        nothing: asItIs,
      }),
    );
  };
}

async function untilUp(
  { manager, clock }: RestartUnitDeps,
  unit: string,
  invocation: string | null,
  signal: AbortSignal,
): Promise<Unit> {
  const deadline = clock.monotonic() + UP_LIMIT_MS;
  for (;;) {
    if (signal.aborted)
      throw new DvError("UNAVAILABLE", "The node agent stops, or the time is over; ask again how the unit is.");
    const now = await manager.get(unit, signal);
    if (now.state === "running" && now.invocation !== invocation) return now;
    if (clock.monotonic() > deadline)
      throw new DvError("TOOL_FAILED", `${unit} is not running again: it is ${now.state}.`, { details: { unit: now } });
    await clock.sleep(LOOK_EVERY_MS, signal);
  }
}
