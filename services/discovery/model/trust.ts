// SPDX-License-Identifier: Apache-2.0
/**
 * What members believe while the authority is replaced, pure: entry `trust` of the membership, how each step changes it, and what a
 * member that confirms a generation has to hold.
 */
import type { Authority, Member, TrustEntry } from "@debvisor/proto-events/membership";
import type { TrustHolding } from "@debvisor/proto-events/trust";
import { judgeOrder, refused, type Standing, type StepOrder } from "./order.ts";
import type { EntryDecision } from "./removal.ts";

/** Key of the entry; no node id has five letters. */
export const TRUST_KEY = "trust";

/** `single`: nothing under way. `added`: both are believed, the old one issues. `issuing`: both, the new one issues. */
export type Phase = "single" | "added" | "issuing";

export function phaseOf({ authorities: [old, next], issuer }: TrustEntry): Phase {
  if (!next) return "single";
  return issuer === old?.fingerprint ? "added" : "issuing";
}

/** The entry of a cluster whose authority was never replaced. */
export function firstTrust(authority: Authority): TrustEntry {
  const { fingerprint: issuer } = authority;
  return { kind: "trust", generation: 1, authorities: [authority], issuer, rotatedAt: null };
}

/** Believing a new authority besides the old one, or its undo. `from`: fingerprint of the old one. */
export function decideAdd(
  entry: TrustEntry | undefined,
  order: StepOrder,
  { from, next }: { from: string; next: Authority | undefined },
): EntryDecision<TrustEntry> {
  return decide(entry, order, standingOf(entry, from, "single", "added"), (now, old) => {
    if (order.direction === "undo") return { ...now, authorities: [old], issuer: from };
    return next && { ...now, authorities: [old, next], issuer: from };
  });
}

/** Having the new authority issue, or the old one again. */
export function decideIssue(
  entry: TrustEntry | undefined,
  order: StepOrder,
  { from }: { from: string },
): EntryDecision<TrustEntry> {
  return decide(entry, order, standingOf(entry, from, "added", "issuing"), (now, old, next) => {
    const issuer = order.direction === "undo" ? old : next;
    return issuer && { ...now, issuer: issuer.fingerprint };
  });
}

/** Believing the new authority alone. `at`: RFC 3339 time. */
export function decideRemove(
  entry: TrustEntry | undefined,
  order: StepOrder,
  { from, at }: { from: string; at: string },
): EntryDecision<TrustEntry> {
  const isGone = entry !== undefined && phaseOf(entry) === "single" && entry.issuer !== from;
  const standing = isGone ? "to" : standingOf(entry, from, "issuing", "issuing");
  return decide(entry, order, standing, (now, _old, next) => next && { ...now, authorities: [next], rotatedAt: at });
}

/** How the entry stands to a change between two phases, in the direction of the order. The old authority is `from`. */
function standingOf(entry: TrustEntry | undefined, from: string, before: Phase, after: Phase) {
  return (direction: StepOrder["direction"]): Standing => {
    if (!entry || entry.authorities[0]?.fingerprint !== from) return "other";
    const phase = phaseOf(entry);
    const [start, end] = direction === "do" ? [before, after] : [after, before];
    if (phase === start) return "from";
    return phase === end ? "to" : "other";
  };
}

function decide(
  entry: TrustEntry | undefined,
  order: StepOrder,
  standing: Standing | ((direction: StepOrder["direction"]) => Standing),
  change: (now: TrustEntry, old: Authority, next: Authority | undefined) => TrustEntry | undefined,
): EntryDecision<TrustEntry> {
  const [old, next] = entry?.authorities ?? [];
  if (!entry || !old) return refused("CONFLICT", "The membership has no entry about its authority.");
  const stands = typeof standing === "string" ? standing : standing(order.direction);
  const judged = judgeOrder(entry.order, order, stands, `its generation is ${entry.generation}`);
  if (judged.kind === "made" || judged.kind === "refused") return judged;
  if (judged.kind === "note") return { kind: "write", entry: { ...entry, order: judged.order } };
  const changed = change(entry, old, next);
  if (!changed) return refused("CONFLICT", "There is no new authority.");
  return { kind: "write", entry: { ...changed, generation: entry.generation + 1, order: judged.order } };
}

/** Why a member does not hold what the entry says; undefined when it does. */
export function faultOf(
  { authorities, issuer }: Pick<TrustEntry, "authorities" | "issuer">,
  role: Member["role"],
  held: TrustHolding,
): string | undefined {
  const wanted = authorities.map(({ fingerprint }) => fingerprint);
  if (!isSame(held.authorities, wanted)) return "does not believe these authorities yet";
  if (held.issuer !== issuer) return "has no certificate of that authority yet";
  if (role === "server" && !isSame(held.keys, wanted)) return "does not have the authority's key yet";
  return held.inForce ? undefined : "its nats-server does not go by them yet";
}

function isSame(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && others.every((one) => some.includes(one));
}
