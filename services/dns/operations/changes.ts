// SPDX-License-Identifier: Apache-2.0
/** The changes of records that were made, from the log of operations, and whether one can still be undone. */
import type { dnsContract } from "@debvisor/proto-events/dns";
import { ChangeResult, type DnsChange } from "@debvisor/proto-events/dns-data";
import type { Operation } from "@debvisor/proto-events/durable";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import { DvError } from "@debvisor/shared/errors";
import type { OperationHost } from "@debvisor/shared/operation/operation-host";
import type { Bind } from "../drivers/bind.ts";
import { zoneOf } from "../model/names.ts";
import { shownSet } from "../model/record-data.ts";
import type { DnsStore } from "../reconcilers/dns-store.ts";
import { readPrimary, serversOf, zonesOf } from "./ask-servers.ts";

type C = typeof dnsContract;
type Difference = DnsChange["records"][number];

const TYPES: ReadonlySet<string> = new Set(["dns.change-records", "dns.register-host", "dns.deregister-host"]);
const SHOWN = 100;

export interface ChangesDeps {
  readonly store: DnsStore;
  readonly bind: Bind;
  readonly host: Pick<OperationHost, "get" | "list">;
}

export function listChangesHandler({ store, host }: Pick<ChangesDeps, "store" | "host">) {
  return async ({ limit }: Input<C, "listChanges">): Promise<Output<C, "listChanges">> => {
    const zones = zonesOf(await store.view());
    const newest = host
      .list()
      .filter(({ type }) => TYPES.has(type))
      .slice(0, limit);
    return { items: await Promise.all(newest.map(async ({ id }) => changeOf(await host.get(id), zones))) };
  };
}

function changeOf(operation: Operation, zones: readonly string[]): DnsChange {
  const { id, state, actor, user, createdAt, undoable, result } = operation;
  const ended = ChangeResult.safeParse(result);
  return {
    id: id as DnsChange["id"],
    ...{ state, actor: actor ?? "system", user, at: createdAt, undoable },
    propagated: ended.success ? ended.data.propagated : null,
    records: differencesOf(operation, zones).slice(0, SHOWN),
  };
}

/** Effects as the plan says them: `A web1.debvisor.local`. What is remembered of a host (`host web1.…`) is no record. */
function differencesOf({ plan }: Operation, zones: readonly string[]): Difference[] {
  return plan.effects.flatMap(({ what, before, after }) => {
    const [type = "", name = ""] = what.split(" ");
    if (type === "host") return [];
    return { zone: zoneOf(name, zones) ?? "", name, type, before, after };
  });
}

export function checkChangeHandler({ store, bind, host }: ChangesDeps) {
  return async ({ change }: Input<C, "checkChange">, { signal }: RequestContext): Promise<Output<C, "checkChange">> => {
    const operation = await host.get(change);
    if (!TYPES.has(operation.type))
      throw new DvError("OPERATION_NOT_FOUND", `${change} is no change of records but ${operation.type}.`);
    const view = await store.view();
    const differences = differencesOf(operation, zonesOf(view));
    const byZone = Map.groupBy(differences, ({ zone }) => zone);
    const found = await Promise.all(
      [...byZone].map(async ([zone, own]) => {
        const { sets } = await readPrimary(bind, view, serversOf(view, zone), own, { signal });
        return own.map((one, i) => standing(one, shownSet(sets[i] ?? null)));
      }),
    );
    return { change, undoable: operation.undoable, records: found.flat() };
  };
}

function standing(difference: Difference, found: string | null): Output<C, "checkChange">["records"][number] {
  const { before, after } = difference;
  const status = found === after ? "as-changed" : found === before ? "as-before" : "changed-since";
  return { ...difference, found, status };
}
