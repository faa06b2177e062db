// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import type { SetChange } from "./change-set.ts";
import { ttlPlan } from "./ttl-plan.ts";

const place = { zone: "x.test", name: "web.x.test", type: "A" } as const;
const set = (ttl: number, ...data: string[]) => ({ ttl, data });

test("a value is changed between lowering and restoring, and the longest old time to live is waited for", () => {
  const long: SetChange = { ...place, before: set(300, "192.0.2.1"), after: set(600, "192.0.2.2") };
  const gone: SetChange = { ...place, name: "old.x.test", before: set(900, "192.0.2.3"), after: null };

  const plan = ttlPlan([long, gone], 30);

  expect(plan).toEqual({
    waitSeconds: 900,
    lower: [
      { ...long, after: set(30, "192.0.2.1") },
      { ...gone, after: set(30, "192.0.2.3") },
    ],
    change: [
      { ...long, before: set(30, "192.0.2.1"), after: set(30, "192.0.2.2") },
      { ...gone, before: set(30, "192.0.2.3") },
    ],
    restore: [{ ...long, before: set(30, "192.0.2.2") }],
  });
});

test.each<[string, SetChange]>([
  ["what is new", { ...place, before: null, after: set(300, "192.0.2.2") }],
  ["what lives no longer anyway", { ...place, before: set(30, "192.0.2.1"), after: set(300, "192.0.2.2") }],
  ["what keeps its values", { ...place, before: set(900, "192.0.2.1"), after: set(300, "192.0.2.1") }],
])("%s changes at once", (_what, change) => {
  expect(ttlPlan([change], 30)).toEqual({ lower: [], waitSeconds: 0, change: [change], restore: [] });
});

test("what shall live as shortly is not restored, and nobody waits for more than a day", () => {
  const short: SetChange = { ...place, before: set(300, "192.0.2.1"), after: set(30, "192.0.2.2") };
  const endless: SetChange = { ...place, before: set(86_401, "192.0.2.1"), after: null };

  expect(ttlPlan([short], 30).restore).toEqual([]);
  expect(() => ttlPlan([endless], 30)).toThrow(/86401 s is waited for at most 86400 s/);
});
