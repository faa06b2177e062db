// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { expect, test } from "vitest";
import { agreedTime, CLOCK_BOUND_MS, clockFault } from "./agreed-time.ts";

const NOW = Date.UTC(2026, 10, 28);
const YEAR = 365 * 86_400_000;

test.each([
  { name: "two clocks cannot tell which is wrong", own: NOW, others: [0], agreed: undefined },
  { name: "one clock is nobody's majority", own: NOW, others: [], agreed: undefined },
  { name: "a clock in 1970 goes by the other two", own: 0, others: [NOW, NOW + 5], agreed: NOW },
  {
    name: "a clock ten years ahead goes by the other two",
    own: NOW + 10 * YEAR,
    others: [NOW, NOW + 5],
    agreed: NOW + 5,
  },
  { name: "one in 1970 moves the others by nothing", own: NOW, others: [0, NOW + 7], agreed: NOW },
  {
    name: "one ten years ahead moves the others by nothing",
    own: NOW,
    others: [NOW + 10 * YEAR, NOW - 7],
    agreed: NOW,
  },
  { name: "seconds apart each goes by its own", own: NOW - 9_000, others: [NOW, NOW + 9_000], agreed: NOW - 9_000 },
  { name: "two against two keep theirs", own: NOW, others: [NOW, NOW + YEAR, NOW + YEAR], agreed: NOW },
])("$name", ({ own, others, agreed }) => {
  expect(agreedTime(own, others)).toBe(agreed);
});

test("while most clocks are right, nobody's time is further off than the bound, whatever the others say", () => {
  fc.assert(
    fc.property(
      fc
        .integer({ min: 1, max: 3 })
        .chain((wrong) =>
          fc.tuple(
            fc.array(fc.integer({ min: 0, max: NOW * 3 }), { minLength: wrong, maxLength: wrong }),
            fc.array(fc.integer({ min: -1_000, max: 1_000 }), { minLength: wrong + 1, maxLength: wrong + 3 }),
          ),
        ),
      ([wrong, jitter]) => {
        const all = [...wrong, ...jitter.map((ms) => NOW + ms)];
        for (const [at, own] of all.entries()) {
          const agreed = agreedTime(own, all.toSpliced(at, 1)) ?? Number.NaN;
          expect(Math.abs(agreed - NOW)).toBeLessThanOrEqual(CLOCK_BOUND_MS + 1_000);
        }
      },
    ),
  );
});

test("a clock that is more than five minutes off is told of, with how much and which way", () => {
  expect(clockFault(NOW + CLOCK_BOUND_MS, NOW)).toBeUndefined();
  expect(clockFault(NOW - CLOCK_BOUND_MS, NOW)).toBeUndefined();
  expect(clockFault(NOW - 86_400_000 * 3, NOW)).toBe("The clock of this machine is 3d behind the cluster's; set it.");
  expect(clockFault(NOW + 360_000, NOW)).toBe("The clock of this machine is 6m ahead of the cluster's; set it.");
});
