// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { RecentLines } from "./recent-lines.ts";

test("the latest lines are kept under their sequence, up to the number allowed", () => {
  const recent = new RecentLines(3, 1_000);
  for (const line of ["a", "b", "c", "d", "e"]) recent.push(line);

  expect(recent.first).toBe(3);
  expect(recent.slice(3, 5)).toEqual(["c", "d", "e"]);
  expect(recent.slice(4, 4)).toEqual(["d"]);
  expect(() => recent.slice(2, 3)).toThrow(RangeError);
  expect(() => recent.slice(5, 6)).toThrow(RangeError);
});

test("long lines are kept up to the size allowed", () => {
  const recent = new RecentLines(100, 10);
  for (const line of ["aaaa", "bbbb", "cccc"]) recent.push(line);

  expect(recent.slice(recent.first, 3)).toEqual(["bbbb", "cccc"]);
  recent.push("a line that is longer than everything");
  expect(recent.first).toBe(5);
  recent.push("x");
  expect(recent.slice(5, 5)).toEqual(["x"]);
});

test("the places stay right over many thousand lines", () => {
  const recent = new RecentLines(1_500);
  for (let seq = 1; seq <= 10_000; seq++) recent.push(`line ${seq}`);

  expect(recent.first).toBe(8_501);
  expect(recent.slice(8_501, 8_502)).toEqual(["line 8501", "line 8502"]);
  expect(recent.slice(10_000, 10_000)).toEqual(["line 10000"]);
});
