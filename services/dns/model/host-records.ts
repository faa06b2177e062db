// SPDX-License-Identifier: Apache-2.0
/** Which records a host shall have, and what has to change for it without touching what is somebody else's. Pure. */
import { TTL } from "@debvisor/proto-events/dns-data";
import type { HostRecord } from "@debvisor/proto-events/dns-hosts";
import type { SetChange } from "./change-set.ts";
import { reverseName, zoneOf } from "./names.ts";
import { address, type RrSet, sameData, sortedData } from "./record-data.ts";

/** A host and where it belongs; addresses in our spelling. */
export interface HostWish {
  readonly zone: string;
  readonly name: string;
  readonly addresses: readonly string[];
}

/** The sets of records of a host. An address without a reverse zone among `zones` is returned apart. */
export function setsOf(
  { zone, name, addresses }: HostWish,
  zones: readonly string[],
): { readonly sets: HostRecord[]; readonly homeless: string[] } {
  const sets: HostRecord[] = [...Map.groupBy(addresses, (one) => address(one).type)].map(([type, data]) => ({
    ...{ zone, name, type, data: sortedData(data) },
  }));
  const homeless: string[] = [];
  for (const one of addresses) {
    const reverse = reverseName(one);
    const home = zoneOf(reverse, zones);
    if (home === undefined) homeless.push(one);
    else sets.push({ zone: home, name: reverse, type: "PTR", data: [`${name}.`] });
  }
  return { sets, homeless };
}

/** A set that somebody else made with other values. */
export interface Taken {
  readonly set: HostRecord;
  readonly found: RrSet;
}

/** What a registration comes to. */
export interface Registration {
  readonly changes: SetChange[];
  /** What it made, now or before: records that were there already with the same values are not among them. */
  readonly made: HostRecord[];
  /** In the way of it. */
  readonly taken: Taken[];
}

/**
 * Compares what a host shall have with what is there. `former` are the sets that its registration made so far; what of them is not
 * wished any more goes, as far as it is still there. `takeOver` replaces what somebody else made.
 */
export function registration(
  wished: readonly HostRecord[],
  former: readonly HostRecord[],
  read: (set: HostRecord) => RrSet | null,
  { ttl, takeOver }: { readonly ttl: number | undefined; readonly takeOver: boolean },
): Registration {
  const judged = wished.map((set) => judge(set, former, read(set), { ttl, takeOver }));
  const obsolete = former.filter((set) => !wished.some((one) => isSameSet(one, set)));
  return {
    changes: [...judged.flatMap(({ change }) => change ?? []), ...obsolete.flatMap((set) => removalOf(set, read(set)))],
    made: judged.flatMap(({ made }) => made ?? []),
    taken: judged.flatMap(({ taken }) => taken ?? []),
  };
}

interface Judgement {
  readonly change?: SetChange;
  readonly made?: HostRecord;
  readonly taken?: Taken;
}

/** What becomes of one set that is wished. */
function judge(
  set: HostRecord,
  former: readonly HostRecord[],
  found: RrSet | null,
  { ttl, takeOver }: { readonly ttl: number | undefined; readonly takeOver: boolean },
): Judgement {
  const after = { ttl: ttl ?? found?.ttl ?? TTL.standard, data: set.data };
  const change = changeOf(set, found, after);
  if (found === null) return { change, made: set };
  const mine = former.find((one) => isSameSet(one, set));
  const isMine = mine !== undefined && hasData(found, mine);
  if (hasData(found, set)) {
    if (!isMine) return {};
    return found.ttl === after.ttl ? { made: set } : { change, made: set };
  }
  return isMine || takeOver ? { change, made: set } : { taken: { set, found } };
}

/** Takes the values of a set away, as far as they are there. */
function removalOf(set: HostRecord, found: RrSet | null): SetChange[] {
  const left = found?.data.filter((value) => !set.data.includes(value)) ?? [];
  if (found === null || left.length === found.data.length) return [];
  return [changeOf(set, found, left.length === 0 ? null : { ttl: found.ttl, data: left })];
}

function changeOf({ zone, name, type }: HostRecord, before: RrSet | null, after: RrSet | null): SetChange {
  return { zone, name, type, before, after };
}

function isSameSet(a: HostRecord, b: HostRecord): boolean {
  return a.zone === b.zone && a.name === b.name && a.type === b.type;
}

function hasData(found: RrSet, { data }: HostRecord): boolean {
  return sameData(found, { ttl: found.ttl, data });
}

/** The first IPv4 and the first IPv6 address by which other machines reach a node: no loopback, link-local or multicast ones. */
export function usableAddresses(addresses: readonly string[]): string[] {
  const usable = addresses.flatMap((text) => {
    try {
      const found = address(text);
      return isUsable(found) ? [found] : [];
    } catch {
      return [];
    }
  });
  const first = (type: "A" | "AAAA") => usable.filter((one) => one.type === type).slice(0, 1);
  return [...first("A"), ...first("AAAA")].map((one) => one.address);
}

/* RFC 1122 §3.2.1.3, RFC 3927, RFC 5771; RFC 4291 §2.4. */
function isUsable({ address: text, type }: { readonly address: string; readonly type: "A" | "AAAA" }): boolean {
  if (type === "A") return !/^(0|127|169\.254|22[4-9]|23\d|24\d|25[0-5])\./.test(text);
  return !/^(::|fe[89ab]|ff)/.test(text);
}
