// SPDX-License-Identifier: Apache-2.0
/**
 * Whether an order of an operation may still change an entry that keeps the order which wrote it last, pure. An owner that was
 * overtaken, an operation that came before, and an undo of what somebody else has set since are told from it.
 */
import type { EntryOrder } from "@debvisor/proto-events/membership";

/** An order as a step gets it. */
export interface StepOrder {
  readonly operation: string;
  readonly step: string;
  readonly direction: "do" | "undo";
  readonly epoch: number;
  readonly fence: number | null;
}

/**
 * `write`: what is wanted. `note`: only the order, so that what never happened cannot happen later. `made`: nothing, because it is
 * done. `refused`: nothing, because it may not be.
 */
export type Judgement =
  | { readonly kind: "write" | "note"; readonly order: EntryOrder }
  | { readonly kind: "made" }
  | Refusal;

export interface Refusal {
  readonly kind: "refused";
  readonly code: "COMMAND_FENCED" | "CONFLICT";
  readonly why: string;
}

/** How the entry stands to what the order wants: as before it, as after it, or otherwise. */
export type Standing = "from" | "to" | "other";

/** Judges an order by the last one that wrote the entry, and by how the entry is. `said` describes that, for a refusal. */
export function judgeOrder(
  last: EntryOrder | null | undefined,
  order: StepOrder,
  standing: Standing,
  said: string,
): Judgement {
  const undoes = order.direction === "undo";
  const isOwn = last?.operation === order.operation && last.step === order.step;
  const overtaken = overtakenBy(last, order, isOwn);
  if (overtaken !== undefined) return refused("COMMAND_FENCED", overtaken);
  if (isOwn && standing === "to" && last?.undone === undoes) return { kind: "made" };
  const { direction: _direction, fence, ...own } = order;
  const next = { ...own, fence: fence ?? 0, undone: undoes };
  if (undoes && standing === "to") return { kind: "note", order: next };
  if (standing !== "from") return refused("CONFLICT", `It was changed meanwhile: ${said}.`);
  return { kind: "write", order: next };
}

export function refused(code: Refusal["code"], why: string): Refusal {
  return { kind: "refused", code, why };
}

function overtakenBy(last: EntryOrder | null | undefined, order: StepOrder, isOwn: boolean): string | undefined {
  if (!last) return undefined;
  if (last.fence > (order.fence ?? 0)) return `Operation ${last.operation} has been here since.`;
  if (last.operation === order.operation && last.epoch > order.epoch)
    return `Epoch ${order.epoch} of ${order.operation} is over; the entry has seen ${last.epoch}.`;
  if (isOwn && last.undone && order.direction === "do") return `${order.operation} was undone; it is not done again.`;
  return undefined;
}
