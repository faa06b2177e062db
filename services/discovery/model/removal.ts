// SPDX-License-Identifier: Apache-2.0
/** Whether a member may be removed, pure: what the cluster must still be able to do afterwards (RULES.md 19). */
import type { Check } from "@debvisor/proto-events/durable";
import type { ClusterEntry, EntryOrder, Member } from "@debvisor/proto-events/membership";
import { judgeOrder, type Refusal, type Standing, type StepOrder } from "./order.ts";

/** A member as its removal sees it. */
export interface RemovalSubject {
  readonly id: string;
  readonly name: string;
  readonly alive: boolean;
}

/** What the bus says of itself; undefined where nobody could say. */
export interface BusHealth {
  /** Whether the group of servers has a leader. */
  readonly led: boolean;
  /** Streams with replicas that are not current, other than by the loss of the member itself. */
  readonly lagging: readonly string[];
}

/**
 * Why removing a server would cost the cluster its ability to write; undefined when it would not. `servers`: the active ones,
 * the subject among them.
 */
export function quorumFault(subject: RemovalSubject, servers: readonly RemovalSubject[]): string | undefined {
  const count = servers.length;
  const others = servers.filter(({ id }) => id !== subject.id);
  const alive = others.filter((server) => server.alive).length;
  if (others.length === count) return undefined;
  if (count === 1) return "it is the only server";
  if (count === 2) return "of two servers none can go: the one that is left would have no majority to agree with";
  const needed = Math.floor(count / 2) + 1;
  const now = alive + (subject.alive ? 1 : 0);
  if (now < needed) return `only ${now} of ${count} servers are up, ${needed} are needed to agree on it`;
  if (count === 3 && subject.alive) return "two servers bear no loss: of three, only one that is lost may be removed";
  const neededAfter = Math.floor(others.length / 2) + 1;
  if (alive < neededAfter)
    return `only ${alive} of the ${others.length} servers that stay are up, ${neededAfter} are needed`;
  return undefined;
}

/** What is looked at before a server is removed. */
export function serverChecks(
  subject: RemovalSubject,
  servers: readonly RemovalSubject[],
  { led, lagging }: BusHealth,
): Check[] {
  const target = subject.name;
  const fault = quorumFault(subject, servers);
  const passed = (id: string, message: string): Check => ({ id, target, status: "passed", message, hint: null });
  const failed = (id: string, message: string, hint: string): Check => ({
    id,
    target,
    status: "failed",
    message,
    hint,
  });
  return [
    fault === undefined
      ? passed("servers.quorum", "a majority of the servers stays up")
      : failed("servers.quorum", fault, "add a server first, or bring the others up: dvctl cluster members"),
    led
      ? passed("servers.leader", "the servers have a leader")
      : failed(
          "servers.leader",
          "the servers have no leader",
          "wait for the election; dvctl status says how the bus is",
        ),
    lagging.length === 0
      ? passed("servers.replicas", "the other replicas are current")
      : failed("servers.replicas", `replicas are not current: ${lagging.join(", ")}`, "wait until they have caught up"),
    {
      id: "servers.secrets",
      target,
      status: "warned",
      message: "it holds the cluster's secrets, which removing it does not change",
      hint: "if it may be in wrong hands, form the cluster anew: docs/guides/replace-a-node.md",
    },
  ];
}

/** What a step makes of an entry of the membership. */
export type EntryDecision<T> = { readonly kind: "write"; readonly entry: T } | { readonly kind: "made" } | Refusal;

/** How a member stands to its removal by an operation, or to the undo of that. */
function standingOf({ state, order: last }: Member, { operation, direction }: StepOrder): Standing {
  if (state !== "removed") return direction === "do" ? "from" : "to";
  if (last?.operation !== operation) return "other";
  return direction === "do" ? "to" : "from";
}

/** The removal of a member, or its undo, decided on the newest entry. `at`: RFC 3339 time of the removal. */
export function decideRemoval(
  member: Member | undefined,
  order: StepOrder,
  { before, actor, reason, at }: { before: Member["state"]; actor: string; reason: string; at: string },
): EntryDecision<Member> {
  const undoes = order.direction === "undo";
  if (!member) return undoes ? { kind: "made" } : gone();
  const judged = judgeOrder(member.order, order, standingOf(member, order), `${member.name} is ${member.state}`);
  if (judged.kind === "made" || judged.kind === "refused") return judged;
  if (judged.kind === "note") return { kind: "write", entry: { ...member, order: judged.order } };
  const changed = { ...member, order: judged.order, generation: member.generation + 1 };
  const removed = undoes ? null : { at, actor, reason };
  return { kind: "write", entry: { ...changed, state: undoes ? before : "removed", removed } };
}

/** Closing unattended joining, or opening it again as it was, decided on the newest entry. */
export function decideClosing(
  cluster: ClusterEntry | undefined,
  order: StepOrder,
  before: string,
): EntryDecision<ClusterEntry> {
  if (!cluster) return gone();
  const { unattendedUntil } = cluster;
  const [from, to] = order.direction === "undo" ? [null, before] : [before, null];
  const standing = unattendedUntil === to ? "to" : unattendedUntil === from ? "from" : "other";
  const said = `unattended joining is open until ${unattendedUntil ?? "never"}`;
  const judged = judgeOrder(cluster.order, order, standing, said);
  if (judged.kind === "made" || judged.kind === "refused") return judged;
  return {
    kind: "write",
    entry: { ...cluster, order: judged.order, ...(judged.kind === "write" ? { unattendedUntil: to } : {}) },
  };
}

/** True for an entry that this operation wrote and has not undone. */
export function isBy(order: EntryOrder | undefined, operation: string): boolean {
  return order?.operation === operation && !order.undone;
}

function gone(): Refusal {
  return { kind: "refused", code: "CONFLICT", why: "The entry of the membership is gone." };
}
