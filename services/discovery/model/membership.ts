// SPDX-License-Identifier: Apache-2.0
/**
 * Who may join, pure: decisions on the entries of bucket `dv_members`. Whoever acts on one writes what it says by compare-and-set
 * and decides anew after a conflict, so that two servers that admit at once never both let a second server start joining.
 */
import type { ErrorCode } from "@debvisor/proto-events/errors";
import type { ClusterEntry, CodeEntry, Member, MembershipEntry } from "@debvisor/proto-events/membership";

/** Key of the entry about the cluster as a whole; no node id has seven letters. */
export const CLUSTER_KEY = "cluster";
export const CODE_KEY = "code";
/** How long a machine that was let in may take to come up before its place is given away, in milliseconds. */
export const ADMITTED_FOR_MS = 600_000;
/** Life of a one-time code, in milliseconds, and how many wrong ones it bears (RULES.md 3). */
export const CODE_LIFE_MS = 300_000;
export const CODE_TRIES = 3;

/** Who asks: as the handshake proved. */
export interface Applicant {
  readonly id: string;
  /** SHA-256 of its SPKI, hexadecimal. */
  readonly spki: string;
  readonly proof: "secret" | "code" | "words" | "member";
}

/** What of a request to join is decided upon. */
export interface JoinRequest extends Pick<Member, "name" | "role" | "busKey"> {
  readonly addresses: readonly string[];
  /** Where its parts listen or would listen; a worker's are not kept. */
  readonly endpoints: NonNullable<Member["endpoints"]>;
}

/** What is to be done about a request to join. */
export type Decision =
  | { readonly kind: "refuse"; readonly code: ErrorCode; readonly message: string }
  | { readonly kind: "wait"; readonly reason: string }
  /** Write the cluster entry first when there is one, then the member; then hand out what belongs to it. */
  | { readonly kind: "admit"; readonly member: Member; readonly cluster?: ClusterEntry; readonly isNew: boolean };

/** Decides on a request. `now` in milliseconds since 1970. */
export function decideAdmission(
  members: ReadonlyMap<string, Member>,
  cluster: ClusterEntry,
  applicant: Applicant,
  request: JoinRequest,
  now: number,
): Decision {
  const known = members.get(applicant.id);
  const fault = known ? faultOfKnown(known, applicant) : faultOfStranger(members, cluster, applicant, request, now);
  if (fault) return fault;
  const role = known?.role ?? request.role;
  const member = memberOf(known, applicant, { ...request, role }, now);
  if (role !== "server" || member.state === "active") return { kind: "admit", member, isNew: !known };
  const { joining } = cluster;
  const taken = joining && joining.node !== applicant.id && now - Date.parse(joining.since) < ADMITTED_FOR_MS;
  if (taken) return { kind: "wait", reason: `server ${joining.node} is joining; servers join one after the other` };
  const since = joining?.node === applicant.id ? joining.since : new Date(now).toISOString();
  return { kind: "admit", member, cluster: { ...cluster, joining: { node: applicant.id, since } }, isNew: !known };
}

function faultOfKnown(known: Member, { id, spki }: Applicant): Decision | undefined {
  if (known.key !== spki)
    return refuse("IDENTITY_CONFLICT", `Node id ${id} belongs to ${known.name}, whose key is another one.`);
  if (known.state === "removed")
    return refuse("MEMBER_REMOVED", `${known.name} was removed: ${known.removed?.reason}.`);
  return undefined;
}

function faultOfStranger(
  members: ReadonlyMap<string, Member>,
  cluster: ClusterEntry,
  { proof }: Applicant,
  request: JoinRequest,
  now: number,
): Decision | undefined {
  if (proof === "member") return refuse("MEMBER_REMOVED", "No such member.");
  const open = cluster.unattendedUntil !== null && now < Date.parse(cluster.unattendedUntil);
  if (proof === "secret" && !open)
    return refuse("JOIN_CLOSED", `Cluster ${cluster.cluster} takes no more machines by its secret alone.`);
  const present = [...members.values()].filter(({ state }) => state !== "removed");
  const namesake = present.find(({ name }) => name === request.name);
  if (namesake) return refuse("NODE_NAME_TAKEN", `The name ${request.name} belongs to node ${namesake.id}.`);
  const servers = present.filter(({ role }) => role === "server").length;
  if (request.role === "server" && servers >= cluster.servers)
    return refuse("CLUSTER_FULL", `Cluster ${cluster.cluster} has its ${cluster.servers} servers.`);
  return undefined;
}

function refuse(code: ErrorCode, message: string): Decision {
  return { kind: "refuse", code, message };
}

function memberOf(known: Member | undefined, applicant: Applicant, request: JoinRequest, now: number): Member {
  const { host, client, cluster, join, gateway } = request.endpoints;
  const told = {
    busKey: request.busKey,
    addresses: [...request.addresses],
    endpoints: request.role === "server" ? { host, client, cluster, join, gateway } : null,
  };
  if (known) return { ...known, ...told, incarnation: known.incarnation, generation: known.generation + 1 };
  return {
    kind: "member",
    id: applicant.id,
    name: request.name,
    role: request.role,
    state: "admitted",
    generation: 1,
    incarnation: 1,
    key: applicant.spki,
    ...told,
    admittedBy: applicant.proof === "member" ? "secret" : applicant.proof,
    admittedAt: new Date(now).toISOString(),
    certificate: null,
    removed: null,
  };
}

/** The member once it has come up; undefined when nothing changes. */
export function joined(member: Member): Member | undefined {
  if (member.state !== "admitted") return undefined;
  return { ...member, state: "active", generation: member.generation + 1 };
}

/** The code if it is open now. */
export function openCode(entry: CodeEntry | undefined, now: number): CodeEntry | undefined {
  return entry && entry.triesLeft > 0 && now < Date.parse(entry.until) ? entry : undefined;
}

/** Members among the entries of the bucket, by node id. */
export function membersOf(entries: Iterable<MembershipEntry>): Map<string, Member> {
  return new Map([...entries].flatMap((entry) => (entry.kind === "member" ? [[entry.id, entry] as const] : [])));
}

/** Name of a server on the bus: a removed one is not admitted again under it (DESIGN.md 5). */
export function serverNameOf({ id, incarnation }: Pick<Member, "id" | "incarnation">): string {
  return `${id}-${incarnation}`;
}

/** A server that takes part in the bus. */
export type ServingMember = Member & { readonly endpoints: NonNullable<Member["endpoints"]> };

/** Every server that was not removed, those that are still joining included, by id. */
export function serversOf(members: ReadonlyMap<string, Member>): Member[] {
  const servers = [...members.values()].filter(({ role, state }) => role === "server" && state !== "removed");
  return servers.sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Servers that take part in the bus: active ones, `self` first, then by id. */
export function servingMembers(members: ReadonlyMap<string, Member>, self?: string): ServingMember[] {
  const serving = [...members.values()].filter(
    (member): member is ServingMember =>
      member.role === "server" && member.state === "active" && member.endpoints !== null,
  );
  return serving.sort((a, b) => Number(b.id === self) - Number(a.id === self) || (a.id < b.id ? -1 : 1));
}
