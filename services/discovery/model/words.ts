// SPDX-License-Identifier: Apache-2.0
/**
 * Machines that wait until somebody has compared words (RULES.md part 5, A2), pure. An entry of bucket `dv_members` belongs to one
 * session of the join port: its words tell it from every other one, so what was approved can be used in that session and nowhere else.
 */
import type { MembershipEntry, WaitingEntry } from "@debvisor/proto-events/membership";
import { ADMITTED_FOR_MS, type Decision, type JoinRequest } from "./membership.ts";

/** How long a machine waits for approval, in milliseconds, and how many may at once: anybody on the LAN may ask. */
export const WAITING_LIFE_MS = 300_000;
export const MAX_WAITING = 16;

/** Key of the entry; no node id has a dot. */
export function waitingKey(node: string): string {
  return `waiting.${node}`;
}

/** Entries whose time is not over. `now` in milliseconds since 1970. */
export function openWaiting(entries: Iterable<MembershipEntry>, now: number): WaitingEntry[] {
  return [...entries].filter(
    (entry): entry is WaitingEntry => entry.kind === "waiting" && now < Date.parse(entry.until),
  );
}

/** Whether there is room for one more machine. One that comes again takes its own place. */
export function hasRoom(open: readonly WaitingEntry[], node: string): boolean {
  return open.filter((entry) => entry.node !== node).length < MAX_WAITING;
}

/** The entry once somebody has typed words: approved when they are its own, otherwise refused for good. */
export function judged(entry: WaitingEntry, words: string, now: number): WaitingEntry {
  if (entry.words !== words) return { ...entry, verdict: "refused" };
  // A server may have to wait for its turn after this.
  return { ...entry, verdict: "approved", until: new Date(now + ADMITTED_FOR_MS).toISOString() };
}

/** What stands in the way of a session; undefined: it was approved, as the machine that it said it was. */
export function hindrance(
  entry: WaitingEntry | undefined,
  session: { readonly words: string | undefined; readonly spki: string },
  asked: Pick<JoinRequest, "name" | "role"> | undefined,
  now: number,
): Exclude<Decision, { kind: "admit" }> | undefined {
  const isIts = entry !== undefined && entry.words === session.words && entry.key === session.spki;
  if (!isIts || now >= Date.parse(entry.until))
    return { kind: "refuse", code: "TIMEOUT", message: "Nobody has approved this machine in time." };
  if (entry.verdict === "refused")
    return { kind: "refuse", code: "JOIN_WORDS_DIFFER", message: "On the member, other words were typed." };
  if (entry.verdict === null) return { kind: "wait", reason: "nobody has approved this machine yet" };
  if (asked && (asked.name !== entry.name || asked.role !== entry.role))
    return { kind: "refuse", code: "INVALID_ARGUMENT", message: "It is not what was approved." };
  return undefined;
}
