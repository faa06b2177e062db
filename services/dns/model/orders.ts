// SPDX-License-Identifier: Apache-2.0
/**
 * Which order to change a zone may still be carried out. DNS has no place for a fence, so the last order of each step is kept in a
 * bucket: one that was overtaken, or that comes again after its undo, changes nothing (RULES.md 23).
 */
import { OperationId } from "@debvisor/proto-events/primitives";
import { z } from "zod";

/** The last order of a step. */
export const OrderMark = z.object({
  operation: OperationId,
  step: z.string(),
  direction: z.enum(["do", "undo"]),
  epoch: z.number().int().nonnegative(),
});
export type OrderMark = z.output<typeof OrderMark>;

/** `held`: it is the last one; `claim`: it may become it; `fenced`: it is over. */
export function judgeOrder(last: OrderMark | undefined, order: OrderMark): "held" | "claim" | "fenced" {
  if (!last) return "claim";
  if (order.epoch < last.epoch) return "fenced";
  if (last.direction === "undo" && order.direction === "do") return "fenced";
  return order.epoch === last.epoch && order.direction === last.direction ? "held" : "claim";
}
