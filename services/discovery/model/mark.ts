// SPDX-License-Identifier: Apache-2.0
/**
 * The mark `disabled` of a node as operations set it, pure. A record keeps the order that set its mark last: an owner that was
 * overtaken, an operation that came before, and an undo of what somebody else has set since are told from it.
 */
import { judgeOrder, type Refusal, refused, type StepOrder } from "./order.ts";
import { type Live, type NodeRecord, type Outcome, type View, withMark } from "./registry.ts";

export type Mark = NodeRecord["disabled"];

/** What a step wants to bring about, or to bring back. */
export interface MarkChange {
  /** When the node that is meant was registered: another one may have its id since. */
  readonly registeredAt: string;
  readonly from: Mark;
  readonly to: Mark;
  readonly order: StepOrder;
}

/** What has to be done: write, nothing because it is done, or nothing because it may not be. */
export type MarkDecision = { readonly kind: "write"; readonly outcome: Outcome } | { readonly kind: "made" } | Refusal;

/** Equal in what a mark says. */
export function sameMark(a: Mark, b: Mark): boolean {
  if (a === null || b === null) return a === b;
  return a.reason === b.reason && a.actor === b.actor && a.at === b.at;
}

/** True for the node that a plan was made about. */
export function isMeant(record: NodeRecord | undefined, registeredAt: string): record is NodeRecord {
  return record !== undefined && !record.deleted && record.registeredAt === registeredAt;
}

/** Decides on the newest record. An undo of what never happened leaves its order all the same, so that it cannot happen later. */
export function decideMark(
  record: NodeRecord | undefined,
  { registeredAt, from, to, order }: MarkChange,
  live: Live | undefined,
  view: View,
): MarkDecision {
  // Of a node that is gone nothing is left that could be brought back.
  if (!isMeant(record, registeredAt))
    return order.direction === "undo" ? { kind: "made" } : refused("CONFLICT", "The node was deleted meanwhile.");
  const { disabled: now } = record;
  const standing = sameMark(now, to) ? "to" : sameMark(now, from) ? "from" : "other";
  const judged = judgeOrder(record.order, order, standing, `${record.name} is ${said(now)}`);
  if (judged.kind === "made" || judged.kind === "refused") return judged;
  const { record: next, facts } = judged.kind === "write" ? withMark(record, to, live, view) : { record, facts: [] };
  return { kind: "write", outcome: { record: { ...next, order: judged.order }, facts } };
}

/** What a mark says, for people. */
export function said(mark: Mark): string {
  return mark === null ? "not disabled" : `disabled by ${mark.actor}: ${mark.reason}`;
}
