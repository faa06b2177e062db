// SPDX-License-Identifier: Apache-2.0
/** Which order may still change a zone. */
import { expect, test } from "vitest";
import { judgeOrder, type OrderMark } from "./orders.ts";

const order = (direction: "do" | "undo", epoch: number): OrderMark => ({
  ...{ operation: "op-k3x7w2mqabcde", step: "zone-1", direction, epoch },
});

test.each([
  ["the first one", undefined, order("do", 1), "claim"],
  ["its repeat", order("do", 1), order("do", 1), "held"],
  ["that of the next owner", order("do", 1), order("do", 2), "claim"],
  ["that of an owner that was overtaken", order("do", 2), order("do", 1), "fenced"],
  ["the undo", order("do", 2), order("undo", 2), "claim"],
  ["a late one to do, after the undo", order("undo", 2), order("do", 2), "fenced"],
  ["a late undo of an owner that was overtaken", order("undo", 3), order("undo", 2), "fenced"],
] as const)("%s", (_what, last, next, judgement) => {
  expect(judgeOrder(last, next)).toBe(judgement);
});
