// SPDX-License-Identifier: Apache-2.0
/**
 * The decisions of the node registry, pure: from what the bucket holds, what was heard and what time it is, the wanted
 * record and the facts to announce. Level-triggered: asking again after the answer was carried out changes nothing, so a
 * lost compare-and-set, a crash or a change of the projector is mended by asking again.
 */

import { type discoveryContract, type Node, NodeEntry } from "@debvisor/proto-events/discovery";
import { EntryOrder } from "@debvisor/proto-events/membership";
import { type Heartbeat, Heartbeat as HeartbeatSchema } from "@debvisor/proto-events/node-agent";
import { z } from "zod";

/** An event that is decided but perhaps not yet acknowledged. Stored with the record, so that a successor publishes it under the same id. */
export const OutboxItem = z.object({
  id: z.string(),
  event: z.string(),
  payload: z.unknown(),
  actor: z.string().optional(),
  requestId: z.string().optional(),
});
export type OutboxItem = z.output<typeof OutboxItem>;

/** What bucket dv_nodes holds under a node id. `deleted`: hidden; the key goes once the event is out. */
export const NodeRecord = NodeEntry.extend({
  outbox: z.array(OutboxItem).default([]),
  order: EntryOrder.nullable().default(null),
});
export type NodeRecord = z.output<typeof NodeRecord>;

/** Events of nodes that the registry publishes. */
export type NodeEvent = Extract<keyof (typeof discoveryContract)["events"], `node.${string}`>;

/** Something that happened, to be announced. */
export interface Fact {
  readonly event: NodeEvent;
  readonly payload: Readonly<Record<string, unknown>>;
}

/** A wanted record and what to announce once it is written. */
export interface Outcome {
  readonly record: NodeRecord;
  readonly facts: readonly Fact[];
}

/** The last heartbeat of a node. `heardAt`: monotonic milliseconds; `at`: RFC 3339. */
export interface Live {
  readonly heardAt: number;
  readonly at: string;
  readonly heartbeat: Heartbeat;
}

/** What decisions depend on besides record and heartbeat. */
export interface View {
  /** Monotonic milliseconds. */
  readonly now: number;
  /** RFC 3339. */
  readonly time: string;
  /** Monotonic time since which heartbeats would have been heard: unknown is never taken for silent. */
  readonly listeningSince: number;
  readonly suspectAfterMs: number;
  readonly lostAfterMs: number;
  /** Which node owns a name; undefined when it is free. */
  readonly ownerOf: (name: string) => string | undefined;
}

/** Names that mean something else in a selection of nodes. */
const RESERVED_NAMES: ReadonlySet<string> = new Set(["all", "core"]);

/** Checks a heartbeat: well-formed, and about the node whose credential sent it. Undefined for anything else. */
export function readHeartbeat(origin: string, data: unknown): Heartbeat | undefined {
  const parsed = HeartbeatSchema.safeParse(data);
  return parsed.success && parsed.data.node === origin ? parsed.data : undefined;
}

/** True unless the heartbeat repeats or precedes one that is known already. */
export function isNewer(heartbeat: Heartbeat, last: Live | undefined): boolean {
  return !last || last.heartbeat.bootId !== heartbeat.bootId || heartbeat.sequence > last.heartbeat.sequence;
}

/** Milliseconds for which a node has been silent, as far as this listener can know. */
export function silenceOf(live: Live | undefined, view: Pick<View, "now" | "listeningSince">): number {
  return Math.max(0, view.now - Math.max(live?.heardAt ?? Number.NEGATIVE_INFINITY, view.listeningSince));
}

/** The last heartbeat if it was heard within the suspicion time. */
function fresh(live: Live | undefined, view: Pick<View, "now" | "suspectAfterMs">): Live | undefined {
  return live && view.now - live.heardAt <= view.suspectAfterMs ? live : undefined;
}

/** What the projector has to write for one node now; undefined when the record is as it should be. At most one transition. */
export function project(record: NodeRecord | undefined, live: Live | undefined, view: View): Outcome | undefined {
  if (record?.deleted) return undefined;
  const heard = fresh(live, view);
  if (!record) return heard && appear(heard, view);
  const identified = heard ? identify(record, heard, view) : { record, changed: [] };
  const moved = move(identified.record, live, view);
  if (!moved && identified.changed.length === 0) return undefined;
  const next = withLastSeen(moved?.record ?? identified.record, live);
  const updated: Fact[] =
    identified.changed.length > 0 && moved?.fact.event !== "node.appeared"
      ? [{ event: "node.updated", payload: { ...factOf(next), changed: identified.changed } }]
      : [];
  return { record: next, facts: [...(moved ? [moved.fact] : []), ...updated] };
}

/**
 * Sets or clears the mark `disabled`. A node that gets it is no target; one that loses it and was not heard lately is suspect
 * first, as after any silence, and lost when it was never heard, as after registering.
 */
export function withMark(
  record: NodeRecord,
  mark: NodeRecord["disabled"],
  live: Live | undefined,
  view: View,
): Outcome {
  const seen = withLastSeen({ ...record, disabled: mark }, live);
  if (mark) {
    const next: NodeRecord = { ...seen, state: "disabled" };
    return { record: next, facts: [{ event: "node.disabled", payload: { ...factOf(next), reason: mark.reason } }] };
  }
  const silent = seen.lastSeen === null ? "lost" : "suspect";
  const next: NodeRecord = { ...seen, state: fresh(live, view) ? "alive" : silent };
  return { record: next, facts: [{ event: "node.enabled", payload: factOf(next) }] };
}

/** Marks a node as deleted, or says why it cannot be: it sends heartbeats, or it is too early to tell that it does not. */
export function remove(
  record: NodeRecord,
  live: Live | undefined,
  view: View,
  reason: string,
): Outcome | "alive" | "unknown" {
  if (fresh(live, view) || record.state === "alive" || record.state === "suspect") return "alive";
  if (silenceOf(live, view) <= view.suspectAfterMs) return "unknown";
  const next: NodeRecord = { ...record, deleted: true };
  return { record: next, facts: [{ event: "node.deleted", payload: { ...factOf(next), reason } }] };
}

/** Marks a node as deleted whether it is heard or not, because it was removed from the cluster; undefined when it is. */
export function forget(record: NodeRecord | undefined, reason: string): Outcome | undefined {
  if (!record || record.deleted) return undefined;
  const next: NodeRecord = { ...record, deleted: true };
  return { record: next, facts: [{ event: "node.deleted", payload: { ...factOf(next), reason } }] };
}

/** Fields of a node that is entered by hand. */
export type Registration = Pick<NodeRecord, "id" | "name" | "addresses" | "rack" | "zone" | "version" | "roles">;

/**
 * Enters a node by hand, or changes name, rack and zone of a known one; what a node says of itself is left to its
 * heartbeats. Undefined when nothing changes.
 */
export function register(
  record: NodeRecord | undefined,
  wanted: Registration,
  view: View,
): Outcome | "taken" | undefined {
  const owner = view.ownerOf(wanted.name);
  if (RESERVED_NAMES.has(wanted.name) || (owner !== undefined && owner !== wanted.id)) return "taken";
  if (!record) {
    const blank = { lastSeen: null, registeredAt: view.time, bootId: "", disabled: null, deleted: false };
    const next: NodeRecord = { ...wanted, ...blank, outbox: [], order: null, state: "lost" };
    return { record: next, facts: [{ event: "node.registered", payload: factOf(next) }] };
  }
  const fields = record.bootId === "" ? wanted : { name: wanted.name, rack: wanted.rack, zone: wanted.zone };
  const changed = differences(record, fields);
  if (changed.length === 0) return undefined;
  const next = { ...record, ...fields };
  return { record: next, facts: [{ event: "node.updated", payload: { ...factOf(next), changed } }] };
}

/**
 * The record as it would be written now. Readers are shown this, so that a node's silence can be seen even while nothing can
 * be written, which is when it matters most: after the loss of a majority of the servers.
 */
export function asOfNow(record: NodeRecord, live: Live | undefined, view: View): NodeRecord {
  let now = record;
  // At most alive to suspect to lost.
  for (let step = 0; step < 2; step++) now = project(now, live, view)?.record ?? now;
  return now;
}

/** The node as it is shown: record, last heartbeat, and load figures unless they are of a node that is gone. */
export function toNode(record: NodeRecord, live: Live | undefined): Node {
  const { deleted: _deleted, outbox: _outbox, order: _order, ...node } = withLastSeen(record, live);
  return { ...node, metrics: live && record.state !== "lost" ? live.heartbeat.metrics : null };
}

/** Who owns each name: the node that was registered first, then the smaller id. Deleted records own nothing. */
export function nameOwners(records: Iterable<NodeRecord>): Map<string, string> {
  const owners = new Map<string, NodeRecord>();
  for (const record of records) {
    const owner = owners.get(record.name);
    if (!record.deleted && (!owner || precedes(record, owner))) owners.set(record.name, record);
  }
  return new Map([...owners].map(([name, { id }]) => [name, id]));
}

function precedes(a: NodeRecord, b: NodeRecord): boolean {
  return a.registeredAt === b.registeredAt ? a.id < b.id : a.registeredAt < b.registeredAt;
}

function appear(live: Live, view: View): Outcome {
  const { node: id, roles, version, addresses, bootId, name } = live.heartbeat;
  const record: NodeRecord = {
    id,
    name: freeName(name, id, view),
    state: "alive",
    roles,
    version,
    addresses,
    bootId,
    rack: null,
    zone: null,
    lastSeen: live.at,
    registeredAt: view.time,
    disabled: null,
    deleted: false,
    outbox: [],
    order: null,
  };
  return { record, facts: [{ event: "node.appeared", payload: factOf(record) }] };
}

function identify(record: NodeRecord, live: Live, view: View): { record: NodeRecord; changed: string[] } {
  const { roles, version, addresses, bootId, name } = live.heartbeat;
  const fields = { name: freeName(name, record.id, view), roles, version, addresses, bootId };
  const changed = differences(record, fields);
  return changed.length === 0 ? { record, changed } : { record: { ...record, ...fields }, changed };
}

/** The wanted name, or one made of it and the id when another node has it. */
function freeName(wanted: string, id: string, { ownerOf }: View): string {
  const isFree = (name: string) => !RESERVED_NAMES.has(name) && (ownerOf(name) ?? id) === id;
  return [wanted, `${wanted.slice(0, 58)}-${id.slice(0, 4)}`].find(isFree) ?? `node-${id}`;
}

function move(record: NodeRecord, live: Live | undefined, view: View): { record: NodeRecord; fact: Fact } | undefined {
  if (record.state === "disabled") return undefined;
  const heard = fresh(live, view);
  if (heard) return record.state === "alive" ? undefined : comeBack(record, heard);
  const silentMs = silenceOf(live, view);
  const lastSeen = live?.at ?? record.lastSeen;
  if (record.state === "alive" && silentMs > view.suspectAfterMs) {
    const next: NodeRecord = { ...record, state: "suspect" };
    return { record: next, fact: { event: "node.suspected", payload: { ...factOf(next), lastSeen, silentMs } } };
  }
  if (record.state === "suspect" && silentMs > view.lostAfterMs) {
    const next: NodeRecord = { ...record, state: "lost" };
    return { record: next, fact: { event: "node.lost", payload: { ...factOf(next), lastSeen, silentMs } } };
  }
  return undefined;
}

function comeBack(record: NodeRecord, { at }: Live): { record: NodeRecord; fact: Fact } {
  const next: NodeRecord = { ...record, state: "alive" };
  const { lastSeen } = record;
  if (lastSeen === null) return { record: next, fact: { event: "node.appeared", payload: factOf(next) } };
  const silentMs = Math.max(0, Date.parse(at) - Date.parse(lastSeen));
  return { record: next, fact: { event: "node.returned", payload: { ...factOf(next), lastSeen, silentMs } } };
}

function withLastSeen(record: NodeRecord, live: Live | undefined): NodeRecord {
  return live && (record.lastSeen === null || live.at > record.lastSeen) ? { ...record, lastSeen: live.at } : record;
}

function factOf({ id, name, state, roles, version, addresses }: NodeRecord) {
  return { node: id, name, state, roles, version, addresses };
}

function differences(record: NodeRecord, fields: Partial<NodeRecord>): string[] {
  const look = (value: unknown) => JSON.stringify(Array.isArray(value) ? [...(value as unknown[])].sort() : value);
  return Object.entries(fields)
    .filter(([name, value]) => look(value) !== look(record[name as keyof NodeRecord]))
    .map(([name]) => name);
}
