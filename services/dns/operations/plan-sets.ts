// SPDX-License-Identifier: Apache-2.0
/** What the plans of all changes of records share: what the primaries have now, the steps for it, and the locks. */
import type { Check } from "@debvisor/proto-events/durable";
import type { PlannedStep, Reader } from "@debvisor/shared/operation/definition";
import type { Goal, SetChange } from "../model/change-set.ts";
import { type RrSet, shownSet } from "../model/record-data.ts";
import type { DnsView } from "../reconcilers/dns-store.ts";
import { readPrimary, serversOf } from "./ask-servers.ts";
import type { UpdateDeps, UpdateParams } from "./update-zone.ts";

/** What names a set of records. */
export type SetKey = Pick<Goal, "zone" | "name" | "type">;

/** What is there of a set that was asked for; null: nothing. */
export type Read = (set: SetKey) => RrSet | null;

/** How an update is carried out, whatever it changes. */
export type UpdateHow = Pick<UpdateParams, "servers" | "key" | "propagationMs" | "everywhere" | "yields">;

/** What the primaries have of some sets, one question for each, one look for each zone. @throws DNS_* */
export async function readAll(
  { bind }: Pick<UpdateDeps, "bind">,
  view: DnsView,
  sets: readonly SetKey[],
  only: readonly string[] | null,
  { signal }: Pick<Reader, "signal">,
): Promise<Read> {
  const found = new Map<string, RrSet | null>();
  const byZone = Map.groupBy(sets, ({ zone }) => zone);
  await Promise.all(
    [...byZone].map(async ([zone, asked]) => {
      const servers = serversOf(view, zone, only ?? undefined);
      const picture = await readPrimary(bind, view, servers, asked, { signal });
      for (const [i, set] of asked.entries()) found.set(setKey(set), picture.sets[i] ?? null);
    }),
  );
  return (set) => found.get(setKey(set)) ?? null;
}

/** A set's zone, name and kind as one text. */
export function setKey({ zone, name, type }: SetKey): string {
  return `${zone} ${name} ${type}`;
}

/** More names of one zone than these take the lock of the zone. */
const NAMES_LOCKED = 8;

/**
 * Locks keep changes of ours apart and have them wait for their turn. What binds every writer are the prerequisites in the update, so it
 * does no harm that a lock of a zone and those of its names do not know of each other.
 */
export function resourcesOf(changes: readonly SetChange[]): string[] {
  return [...Map.groupBy(changes, ({ zone }) => zone)].flatMap(([zone, own]) => {
    const names = [...new Set(own.map(({ name }) => `dns/${zone}/${name}`))];
    return names.length > NAMES_LOCKED ? [`dns/${zone}`] : names;
  });
}

/** One step for each zone; `id` and `verb` say which of several rounds it is. */
export function updateSteps(
  changes: readonly SetChange[],
  how: UpdateHow,
  { id = "zone", verb = "change" }: { readonly id?: string; readonly verb?: string } = {},
): PlannedStep[] {
  return [...Map.groupBy(changes, ({ zone }) => zone)].map(([zone, own], i) => ({
    id: `${id}-${i + 1}`,
    kind: "update",
    title: `${verb} ${own.length === 1 ? `${own[0]?.type} ${own[0]?.name}` : `${own.length} sets of records`} in ${zone}`,
    target: null,
    params: { zone, changes: own, ...how } satisfies UpdateParams,
    resource: null,
  }));
}

/** What changes, as a plan shows it. */
export function effectsOf(changes: readonly SetChange[]) {
  return changes.map(({ name, type, before, after }) => ({
    ...{ target: null, what: `${type} ${name}`, before: shownSet(before), after: shownSet(after), diff: null },
  }));
}

/** Says of an address that no reverse zone is known for it. */
export function homelessCheck(address: string): Check {
  return {
    id: "dns.reverse-zone",
    target: null,
    status: "warned",
    message: `No primary is configured for a reverse zone of ${address}; its PTR stays as it is.`,
    hint: "dvctl dns servers add NAME --address IP --zone 2.0.192.in-addr.arpa --key FILE, with the zone of the network.",
  };
}
