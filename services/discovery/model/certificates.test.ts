// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { isDue, stateOf } from "./certificates.ts";

const DAY_MS = 86_400_000;
const ISSUED = Date.UTC(2027, 4, 1);
const LEAF = { notBefore: new Date(ISSUED - DAY_MS), notAfter: new Date(ISSUED + 7 * DAY_MS) };

test.each([
  ["just issued", ISSUED, false],
  ["before two thirds of its eight days", ISSUED + 4.3 * DAY_MS, false],
  ["after two thirds", ISSUED + 4.4 * DAY_MS, true],
  ["after its end", ISSUED + 400 * DAY_MS, true],
  ["issued by a clock that was years ahead", ISSUED - 300 * DAY_MS, true],
  ["while the clock says 1970", 60_000, false],
])("a certificate is due or not: %s", (_when, now, due) => {
  expect(isDue(LEAF, now)).toBe(due);
});

test("one that was issued in 1970 is due once the clock is right, and shown as expired", () => {
  const leaf = { notBefore: new Date(60_000 - DAY_MS), notAfter: new Date(60_000 + 7 * DAY_MS) };
  expect([isDue(leaf, 60_000), isDue(leaf, ISSUED)]).toEqual([false, true]);
  expect(stateOf(leaf.notAfter.toISOString(), ISSUED)).toBe("expired");
});
