// SPDX-License-Identifier: Apache-2.0
/**
 * What becomes of the date of the founding when the founder's clock was wrong, and of the time for which the secret lets machines in, pure
 * (RULES.md part 5, clock skew at first boot, stolen preseed).
 */
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

/**
 * The cluster's entry with unattended joining closed, once its time is over: entered, so that no clock that is set back opens it again.
 * Undefined while there is time, when it is closed, and while the date may be wrong. `now` in milliseconds since 1970.
 */
export function closedInTime(entry: ClusterEntry, now: number, unattendedMs: number): ClusterEntry | undefined {
  if (entry.unattendedUntil === null || now < Date.parse(entry.unattendedUntil)) return undefined;
  return redated(entry, now, unattendedMs) ? undefined : { ...entry, unattendedUntil: null };
}
