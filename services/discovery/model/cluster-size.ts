// SPDX-License-Identifier: Apache-2.0
/** How many servers the cluster is declared to have, as operations change it, pure. */
import type { ClusterEntry, Member } from "@debvisor/proto-events/membership";
import { judgeOrder, type Refusal, refused, type StepOrder } from "./order.ts";

export type Servers = ClusterEntry["servers"];

/** What a step wants to bring about, or to bring back. */
export interface SizeChange {
  readonly formation: string;
  readonly from: Servers;
  readonly to: Servers;
  readonly order: StepOrder;
}

/** What has to be done: write, nothing because it is done, or nothing because it may not be. */
export type SizeDecision =
  | { readonly kind: "write"; readonly entry: ClusterEntry }
  | { readonly kind: "made" }
  | Refusal;

/** Decides on the newest entry. `servers`: how many members with role server there are. */
export function decideSize(entry: ClusterEntry, change: SizeChange, servers: number): SizeDecision {
  const { formation, from, to, order } = change;
  if (entry.formation !== formation) return refused("CONFLICT", "The cluster is another one now.");
  const standing = entry.servers === to ? "to" : entry.servers === from ? "from" : "other";
  const judged = judgeOrder(
    entry.sizeOrder,
    order,
    standing,
    `the cluster is declared to have ${entry.servers} servers`,
  );
  if (judged.kind === "made" || judged.kind === "refused") return judged;
  if (servers > to)
    return refused("CONFLICT", `The cluster has ${servers} servers; it cannot be declared to have ${to}.`);
  return { kind: "write", entry: { ...entry, servers: to, sizeOrder: judged.order } };
}

/** Members with role server that belong or are about to. */
export function serversAmong(members: Iterable<Member>): Member[] {
  return [...members].filter(({ role, state }) => role === "server" && state !== "removed");
}
