// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { levelOf } from "./fill-level.ts";

test("a stream is nearly full from four fifths on, and each level counts once", () => {
  expect(levelOf(79, 100)).toEqual({ level: 0, percent: 79 });
  expect(levelOf(80, 100)).toEqual({ level: 1, percent: 80 });
  expect(levelOf(96, 100)).toEqual({ level: 3, percent: 96 });
  expect(levelOf(100, 100)).toEqual({ level: 4, percent: 100 });
});

test("a stream without limit is never full", () => {
  expect(levelOf(1_000, -1)).toEqual({ level: 0, percent: 0 });
});
