// SPDX-License-Identifier: Apache-2.0
/**
 * A change after which no cache keeps the old values for long (REQUIREMENTS DNS-05): the time to live of what is there is lowered,
 * the old one is waited for, the values change, and the time to live becomes what it shall be. Pure.
 */
import { TTL } from "@debvisor/proto-events/dns-data";
import type { SetChange } from "./change-set.ts";
import { invalid } from "./names.ts";
import { sameData } from "./record-data.ts";

/** The same change in three parts. */
export interface TtlPlan {
  readonly lower: readonly SetChange[];
  /** Seconds until every cache has forgotten what it got before the lowering: the longest old time to live. 0: nothing is lowered. */
  readonly waitSeconds: number;
  readonly change: readonly SetChange[];
  readonly restore: readonly SetChange[];
}

/**
 * Splits changes. What is new, what already lives no longer than `low` seconds, and what keeps its values, changes at once in the
 * middle part. @throws DNS_RECORD_INVALID when an old time to live is longer than a day
 */
export function ttlPlan(changes: readonly SetChange[], low: number): TtlPlan {
  const isLowered = ({ before, after }: SetChange) => before !== null && before.ttl > low && !sameData(before, after);
  const lowered = changes.filter(isLowered);
  const oldest = lowered.reduce((longest, { before }) => Math.max(longest, before?.ttl ?? 0), 0);
  if (oldest > TTL.most)
    throw invalid(`an old time to live of ${oldest} s is waited for at most ${TTL.most} s; lower it beforehand`);
  return {
    lower: lowered.map((one) => ({ ...one, after: one.before && { ...one.before, ttl: low } })),
    waitSeconds: oldest,
    change: changes.map((one) =>
      isLowered(one)
        ? {
            ...one,
            before: one.before && { ...one.before, ttl: low },
            after: one.after && { ...one.after, ttl: low },
          }
        : one,
    ),
    restore: lowered.flatMap((one) =>
      one.after && one.after.ttl !== low ? [{ ...one, before: { ...one.after, ttl: low } }] : [],
    ),
  };
}
