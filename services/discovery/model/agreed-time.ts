// SPDX-License-Identifier: Apache-2.0
/**
 * What time it is, as the servers' clocks have it together, pure. One clock that is wrong, in whichever direction, moves nothing: not the
 * latest of all times counts, because a clock that is years ahead would have every member renew into the future for ever.
 */
import { formatDuration } from "@debvisor/shared/units";

/** Clocks that are further apart than this are reported, and not gone by: orders and DNS updates bear no more either. */
export const CLOCK_BOUND_MS = 300_000;
/** Clocks that it takes to tell which of them is wrong. */
const LEAST_CLOCKS = 3;

/**
 * The time of the majority: the own clock where that is within five minutes of the middle one of all, else the middle one. Undefined with
 * fewer than three clocks. Milliseconds since 1970.
 */
export function agreedTime(own: number, others: readonly number[]): number | undefined {
  const all = [own, ...others].sort((a, b) => a - b);
  if (all.length < LEAST_CLOCKS) return undefined;
  const low = all[Math.floor((all.length - 1) / 2)] ?? own;
  const high = all[Math.floor(all.length / 2)] ?? own;
  if (own >= low - CLOCK_BOUND_MS && own <= high + CLOCK_BOUND_MS) return own;
  return own < low ? low : high;
}

/** A sentence when a clock is further off than is borne; undefined when it is not. Milliseconds since 1970. */
export function clockFault(own: number, right: number): string | undefined {
  const off = own - right;
  if (Math.abs(off) <= CLOCK_BOUND_MS) return undefined;
  return `The clock of this machine is ${formatDuration(Math.abs(off))} ${off < 0 ? "behind" : "ahead of"} the cluster's; set it.`;
}
