// SPDX-License-Identifier: Apache-2.0
/** What becomes of the date of the founding when the founder's clock was wrong, pure (RULES.md part 5, clock skew at first boot). */
import type { ClusterEntry } from "@debvisor/proto-events/membership";
import { EARLIEST_NOW_MS } from "./certificates.ts";

/** Clocks that are synchronised step back by less. */
const STEP_MS = 300_000;

/**
 * The cluster's entry with the founding dated now: when it was dated by a clock in 1970 that has been set since, or lies in the future.
 * Otherwise the secret would let nobody in any more, or machines for years. A door that was closed stays closed. Undefined when the date
 * can be right, and while the clock is certainly wrong. `now` in milliseconds since 1970.
 */
export function redated(entry: ClusterEntry, now: number, unattendedMs: number): ClusterEntry | undefined {
  const foundedAt = Date.parse(entry.foundedAt);
  if (now < EARLIEST_NOW_MS || (foundedAt >= EARLIEST_NOW_MS && foundedAt <= now + STEP_MS)) return undefined;
  return {
    ...entry,
    foundedAt: new Date(now).toISOString(),
    unattendedUntil: entry.unattendedUntil === null ? null : new Date(now + unattendedMs).toISOString(),
  };
}
