// SPDX-License-Identifier: Apache-2.0
import type { ClusterEntry } from "@debvisor/proto-events/membership";
import { expect, test } from "vitest";
import { closedInTime, redated } from "./founding-date.ts";

const NOW = Date.UTC(2027, 4, 1);
const DAY_MS = 86_400_000;
const at = (ms: number) => new Date(ms).toISOString();
const foundedAt = (ms: number, unattendedUntil: string | null = at(ms + DAY_MS)): ClusterEntry => ({
  kind: "cluster",
  cluster: "lab",
  formation: "0".repeat(32),
  servers: 3,
  foundedAt: at(ms),
  foundedBy: "a".repeat(16),
  unattendedUntil,
  joining: null,
});

test.each([
  ["in 1970", 60_000],
  ["by a clock ten years ahead", NOW + 3_650 * DAY_MS],
])(
  "a founding %s is dated anew once the clock is right, and the secret is good for a day from then",
  (_how, founded) => {
    expect(redated(foundedAt(founded), NOW, DAY_MS)).toEqual({
      ...foundedAt(founded),
      foundedAt: at(NOW),
      unattendedUntil: at(NOW + DAY_MS),
    });
  },
);

test("a door that was closed stays closed", () => {
  expect(redated(foundedAt(60_000, null), NOW, DAY_MS)?.unattendedUntil).toBeNull();
});

test.each([
  ["its date can be right", NOW - DAY_MS, NOW],
  ["the clock stepped back a little", NOW, NOW - 60_000],
  ["the clock is still in 1970", 60_000, 120_000],
])("nothing is changed while %s", (_when, founded, now) => {
  expect(redated(foundedAt(founded), now, DAY_MS)).toBeUndefined();
});

test("once the time of the secret is over it is entered that it is closed, and no clock opens it again", () => {
  const open = foundedAt(NOW);
  const closed = closedInTime(open, NOW + DAY_MS, DAY_MS);

  expect(closedInTime(open, NOW + DAY_MS - 1, DAY_MS)).toBeUndefined();
  expect(closed).toEqual({ ...open, unattendedUntil: null });
  for (const now of [0, NOW - 30 * DAY_MS, NOW, NOW + DAY_MS]) {
    expect(closed && closedInTime(closed, now, DAY_MS)).toBeUndefined();
    expect((closed && redated(closed, now, DAY_MS))?.unattendedUntil ?? null).toBeNull();
  }
});

test("a founding that has to be dated anew first is not closed", () => {
  expect(closedInTime(foundedAt(60_000), NOW, DAY_MS)).toBeUndefined();
});
