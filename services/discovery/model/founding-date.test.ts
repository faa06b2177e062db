// SPDX-License-Identifier: Apache-2.0
import type { ClusterEntry } from "@debvisor/proto-events/membership";
import { expect, test } from "vitest";
import { redated } from "./founding-date.ts";

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
