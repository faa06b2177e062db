// SPDX-License-Identifier: Apache-2.0
/** The documented rule, by table and by property. */
import type { HealthCheck } from "@debvisor/proto-events/node-agent";
import fc from "fast-check";
import { expect, test } from "vitest";
import { findingsOf, levelOf } from "./findings.ts";
import { countChecks, failedIds, overallOf, scoreOf, verdictOf, worseOf } from "./verdict.ts";

const { passed, warned, failed, skipped } = findingsOf("resources");
const good = passed("a", "fine");
const warning = warned("b", "low", "do something");
const fault = failed("c", "broken", "repair it");
const fatal = failed("d", "gone", "replace it", true);

test.each<[string, HealthCheck[], string, number]>([
  ["nothing to check", [], "healthy", 100],
  ["everything in order", [good, skipped("e", "not needed")], "healthy", 100],
  ["a warning", [good, warning], "degraded", 95],
  ["a failure", [warning, fault], "unhealthy", 80],
  ["a critical failure", [fault, fatal], "critical", 45],
  ["more than the scale holds", [fatal, fatal, fatal], "critical", 0],
])("judges: %s", (_title, checks, verdict, score) => {
  expect(verdictOf(checks)).toBe(verdict);
  expect(scoreOf(checks)).toBe(score);
});

test("gives every finding its group, and a hint exactly when something is wrong", () => {
  expect(warning).toEqual({
    id: "resources.b",
    group: "resources",
    status: "warned",
    message: "low",
    hint: "do something",
    critical: false,
  });
  expect([good.hint, fault.hint, fatal.critical]).toEqual([null, "repair it", true]);
});

test("counts checks, and names failed ones with critical ones first", () => {
  const checks = [good, warning, fault, fatal];

  expect(countChecks(checks)).toEqual({ passed: 1, warned: 1, failed: 2, skipped: 0 });
  expect(failedIds(checks)).toEqual(["resources.d", "resources.c"]);
});

test("compares with a floor", () => {
  const floor = { warn: 15, fail: 5 };

  expect([20, 15, 14.9, 5, 4.9].map((value) => levelOf(value, floor))).toEqual([
    "passed",
    "passed",
    "warned",
    "warned",
    "failed",
  ]);
});

test("takes the worse of two words for the heartbeat", () => {
  expect(overallOf(undefined)).toBe("unknown");
  expect(overallOf("degraded")).toBe("warn");
  expect(worseOf("ok", overallOf("critical"))).toBe("error");
  expect(worseOf("warn", "ok")).toBe("warn");
  expect(worseOf("unknown", "ok")).toBe("ok");
});

test("has the full score exactly when healthy, and a further fault never raises it", () => {
  const checks = fc.array(fc.constantFrom(good, warning, fault, fatal, skipped("e", "not needed")), { maxLength: 12 });
  fc.assert(
    fc.property(checks, fc.constantFrom(warning, fault, fatal), (before, more) => {
      expect(scoreOf(before) === 100).toBe(verdictOf(before) === "healthy");
      expect(scoreOf([...before, more])).toBeLessThanOrEqual(scoreOf(before));
    }),
  );
});
