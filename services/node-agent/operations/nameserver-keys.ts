// SPDX-License-Identifier: Apache-2.0
/**
 * The keys of this host's BIND: looked at, and written by order of the engine. The ledger keeps what is there before and after by
 * fingerprint, never a secret; so an undo says itself what the file is to hold.
 */

import type { Input } from "@debvisor/proto-events/kit";
import type { KeysHeld, nameserverContract } from "@debvisor/proto-events/nameserver";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import type { Ledger } from "@debvisor/shared/operation/ledger";
import type { Nameserver } from "../reconcilers/nameserver.ts";
import { orderOf, untilAborted } from "./order-of.ts";
import { createTurns } from "./turns.ts";

type C = typeof nameserverContract;

/** What it needs. */
export interface NameserverDeps {
  readonly nameserver: Nameserver;
  readonly ledger: Pick<Ledger, "execute">;
  /** Aborts when this service stops, which waits for nobody. */
  readonly stopping: AbortSignal;
}

/** Reads; changes nothing. */
export function getKeysHandler({ nameserver }: Pick<NameserverDeps, "nameserver">) {
  return async (_input: Input<C, "getKeys">, { signal }: Pick<RequestContext, "signal">): Promise<KeysHeld> =>
    await nameserver.look(signal);
}

/** Writes and has it read. A repeat of a step answers what the ledger recorded. */
export function setKeysHandler({ nameserver, ledger, stopping }: NameserverDeps) {
  const inTurn = createTurns();
  return async (wanted: Input<C, "setKeys">, context: Pick<RequestContext, "order" | "signal">): Promise<KeysHeld> => {
    const signal = AbortSignal.any([context.signal, stopping]);
    const set = () => nameserver.set(wanted, signal);
    return await inTurn("keys", () =>
      untilAborted(signal, () =>
        ledger.execute<KeysHeld, KeysHeld>(orderOf(context), {
          before: () => nameserver.look(signal),
          ...{ apply: set, undo: set, nothing: set },
        }),
      ),
    );
  };
}
