// SPDX-License-Identifier: Apache-2.0
/**
 * From what was asked to sets of records: which zone each name belongs to, what a set becomes, and which reverse records follow
 * from addresses. Pure; what is there is handed in.
 */
import type { RecordChange, RecordType } from "@debvisor/proto-events/dns-data";
import { TTL } from "@debvisor/proto-events/dns-data";
import { domainName, invalid, isInZone, reverseName, zoneOf } from "./names.ts";
import { address, canonicalData, type RrSet, sameSet, sortedData } from "./record-data.ts";

/** What shall become of one set of records. */
export interface Goal {
  readonly zone: string;
  readonly name: string;
  readonly type: RecordType;
  readonly action: "set" | "delete";
  /** Values; none with `delete`: all of them. */
  readonly data: readonly string[];
  /** Undefined: as it is. */
  readonly ttl: number | undefined;
  readonly ptr: boolean;
}

/** A set of records before and after. */
export interface SetChange {
  readonly zone: string;
  readonly name: string;
  readonly type: RecordType;
  readonly before: RrSet | null;
  readonly after: RrSet | null;
}

/** Where names belong. */
export interface Places {
  /** Every zone that has a server. */
  readonly zones: readonly string[];
  /** Zone of names without a dot. */
  readonly standard: string;
  /** The zone that the request names. */
  readonly given: string | undefined;
}

/** Kinds whose names are those of hosts. */
const HOST_TYPES: ReadonlySet<string> = new Set(["A", "AAAA"]);

/** A name with its zone; a zone without a server too, so that the caller can say what is missing. @throws DNS_RECORD_INVALID */
export function place(text: string, { zones, standard, given }: Places, host: boolean): { zone: string; name: string } {
  if (given !== undefined) {
    const zone = domainName(given, "zone");
    return { zone, name: inZone(text, zone, host) };
  }
  if (text !== "@") {
    const name = domainName(text, "name", { host });
    const zone = zoneOf(name, zones);
    if (zone !== undefined) return { zone, name };
    if (name.includes(".")) return { zone: name.slice(name.indexOf(".") + 1), name };
  }
  return { zone: standard, name: inZone(text, standard, host) };
}

function inZone(text: string, zone: string, host: boolean): string {
  if (text === "@") return zone;
  const name = domainName(text, "name", { host });
  return isInZone(name, zone) ? name : domainName(`${name}.${zone}`, "name", { host });
}

/** The goal of one change. @throws DNS_RECORD_INVALID */
export function goalOf(change: RecordChange, places: Places): Goal {
  const { action, data, ttl, ptr } = change;
  if (action === "set" && data.length === 0) throw invalid(`${change.name}: a value is missing`);
  const type = change.type ?? typeOf(change);
  const where = place(change.name, places, HOST_TYPES.has(type));
  const values = sortedData(data.map((value) => canonicalData(type, value, where.zone)));
  if (type === "CNAME" && values.length > 1) throw invalid(`${where.name}: an alias has one target`);
  return { ...where, type, action, data: values, ttl, ptr: ptr && HOST_TYPES.has(type) };
}

function typeOf({ name, data }: RecordChange): RecordType {
  const types = new Set(data.map((value) => address(value).type));
  const [type, other] = [...types];
  if (type === undefined) throw invalid(`${name}: the kind of record is missing`);
  if (other !== undefined) throw invalid(`${name}: IPv4 and IPv6 addresses are two sets of records; change each`);
  return type;
}

/** What a set becomes by a goal. */
export function afterGoal(before: RrSet | null, { action, data, ttl }: Goal): RrSet | null {
  if (action === "set") return { ttl: ttl ?? before?.ttl ?? TTL.standard, data };
  if (before === null || data.length === 0) return null;
  const left = before.data.filter((value) => !data.includes(value));
  return left.length === 0 ? null : { ttl: before.ttl, data: left };
}

/** Applies goals in order to what is there. Sets that stay as they are are left out. `read` answers for every name and kind. */
export function changesOf(goals: readonly Goal[], read: (goal: Goal) => RrSet | null): SetChange[] {
  const changes = new Map<string, SetChange>();
  for (const goal of goals) {
    const key = `${goal.zone} ${goal.name} ${goal.type}`;
    const known = changes.get(key);
    const before = known ? known.before : read(goal);
    const { zone, name, type } = goal;
    changes.set(key, { zone, name, type, before, after: afterGoal(known ? known.after : before, goal) });
  }
  return [...changes.values()].filter(({ before, after }) => !sameSet(before, after));
}

/** Goals of one name and kind that say two things are a mistake. @throws DNS_RECORD_INVALID */
export function refuseTwice(goals: readonly Goal[]): void {
  const keys = goals.map(({ name, type, action }) => `${name} ${type} ${action}`);
  const twice = keys.find((key, i) => keys.indexOf(key) !== i);
  if (twice !== undefined) throw invalid(`${twice.replace(/ (set|delete)$/, "")} is named twice`);
}

/**
 * The reverse records of goals with `ptr`: the PTR of each address that stays is set, that of one that goes is deleted where it
 * points to the same name. `zones` are those with a server; an address outside of them is returned apart.
 */
export function reverseGoals(
  goals: readonly Goal[],
  changeOf: (goal: Goal) => Pick<SetChange, "before" | "after">,
  zones: readonly string[],
): { readonly goals: Goal[]; readonly homeless: string[] } {
  const found: Goal[] = [];
  const homeless: string[] = [];
  for (const goal of goals.filter(({ ptr }) => ptr)) {
    const { before, after } = changeOf(goal);
    const kept = after?.data ?? [];
    const gone = (before?.data ?? []).filter((value) => !kept.includes(value));
    const named = goal.action === "delete" ? [...gone, ...goal.data.filter((value) => !gone.includes(value))] : gone;
    const add = (value: string, action: Goal["action"]) => {
      const name = reverseName(value);
      const zone = zoneOf(name, zones);
      if (zone === undefined) homeless.push(value);
      else found.push({ zone, name, type: "PTR", action, data: [`${goal.name}.`], ttl: goal.ttl, ptr: false });
    };
    for (const value of named.filter((one) => !kept.includes(one))) add(value, "delete");
    if (goal.action === "set") for (const value of kept) add(value, "set");
  }
  return { goals: found, homeless };
}

/** The lines of nsupdate that turn sets from one side to the other, and only if the first is there (RFC 2136 §2.4). */
export function updateLines(changes: readonly SetChange[], direction: "do" | "undo"): string[] {
  const sides = changes.map(({ name, type, before, after }) =>
    direction === "do" ? { name, type, from: before, to: after } : { name, type, from: after, to: before },
  );
  const prerequisites = sides.flatMap(({ name, type, from }) =>
    from ? from.data.map((value) => `prereq yxrrset ${name}. ${type} ${value}`) : [`prereq nxrrset ${name}. ${type}`],
  );
  const updates = sides.flatMap(({ name, type, from, to }) => [
    ...(from ? [`update delete ${name}. ${type}`] : []),
    ...(to?.data ?? []).map((value) => `update add ${name}. ${to?.ttl} ${type} ${value}`),
  ]);
  return [...prerequisites, ...updates];
}
