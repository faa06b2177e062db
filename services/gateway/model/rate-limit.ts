// SPDX-License-Identifier: Apache-2.0
/**
 * Rate classes. The bucket of each holds as many requests as a minute allows and refills evenly, so a command that
 * starts with a burst is served and a loop is slowed. @fastify/rate-limit was looked at: it counts in fixed windows, runs
 * an async hook per request and adds four headers to each answer.
 */
import type { Effect } from "@debvisor/proto-events/kit";
import { TokenBucket } from "@debvisor/shared/token-bucket";

/** Rate classes. `lifecycle`: making, deleting, moving; `failure`: requests without a valid credential, per address. */
export type RateClass = "read" | "change" | "lifecycle" | "failure";

const LIFECYCLE = /^(create|delete|destroy|migrate|update|revoke)/;

/** The class of an operation, from its effect and the verb its name begins with. */
export function rateClassOf(name: string, effect: Effect): RateClass {
  if (effect === "read") return "read";
  return effect === "destroy" || LIFECYCLE.test(name) ? "lifecycle" : "change";
}

/** A bucket for so many a minute; a limit of 0 is none. `nowMs`: monotonic, milliseconds. */
export function bucketOf(perMinute: number, nowMs: number): TokenBucket {
  return new TokenBucket({ burst: perMinute, everyMs: 60_000 / perMinute }, nowMs);
}
