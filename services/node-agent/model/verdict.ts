// SPDX-License-Identifier: Apache-2.0
/**
 * From checks to a verdict, a score and the word in the heartbeat.
 *
 * Verdict: `critical` when a critical check failed, else `unhealthy` when any failed, else `degraded` when any warned, else
 * `healthy`. Score: 100, less 5 for each warning, 15 for each failure and 40 for each critical failure, at least 0. Points are
 * taken off rather than averaged, so that a node does not look better because more of its checks have nothing to say; the
 * score is 100 exactly when the verdict is `healthy`. Skipped checks count for nothing.
 */
import type { Health, HealthCheck } from "@debvisor/proto-events/node-agent";

/** The verdict's word. */
export type Verdict = Health["verdict"];

/** State in the heartbeat. */
export type Overall = "ok" | "warn" | "error" | "unknown";

const COST = { warned: 5, failed: 15, critical: 40 } as const;
const OVERALL_OF_VERDICT = { healthy: "ok", degraded: "warn", unhealthy: "error", critical: "error" } as const;
const SEVERITY = { unknown: 0, ok: 1, warn: 2, error: 3 } as const;

/** Numbers of checks by status. */
export function countChecks(checks: readonly HealthCheck[]): Health["counts"] {
  const counts = { passed: 0, warned: 0, failed: 0, skipped: 0 };
  for (const { status } of checks) counts[status]++;
  return counts;
}

/** The verdict by the rule above. */
export function verdictOf(checks: readonly HealthCheck[]): Verdict {
  const failed = checks.filter(({ status }) => status === "failed");
  if (failed.some(({ critical }) => critical)) return "critical";
  if (failed.length > 0) return "unhealthy";
  return checks.some(({ status }) => status === "warned") ? "degraded" : "healthy";
}

/** The score by the rule above: 0 to 100. */
export function scoreOf(checks: readonly HealthCheck[]): number {
  let score = 100;
  for (const { status, critical } of checks) {
    if (status === "warned") score -= COST.warned;
    if (status === "failed") score -= critical ? COST.critical : COST.failed;
  }
  return Math.max(score, 0);
}

/** The heartbeat's word for a verdict; `unknown` before the first. */
export function overallOf(verdict: Verdict | undefined): Overall {
  return verdict === undefined ? "unknown" : OVERALL_OF_VERDICT[verdict];
}

/** The worse of two words; `unknown` gives way to anything known. */
export function worseOf(left: Overall, right: Overall): Overall {
  return SEVERITY[right] > SEVERITY[left] ? right : left;
}

/** Failed checks in the order of the report, critical ones first; what the event `health.changed` names. */
export function failedIds(checks: readonly HealthCheck[]): string[] {
  const failed = checks.filter(({ status }) => status === "failed");
  return [...failed.filter(({ critical }) => critical), ...failed.filter(({ critical }) => !critical)].map(
    ({ id }) => id,
  );
}
