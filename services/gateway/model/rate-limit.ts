// SPDX-License-Identifier: Apache-2.0
/**
 * Token buckets and rate classes. A bucket holds as many requests as a minute allows and refills evenly, so a command that
 * starts with a burst is served and a loop is slowed. @fastify/rate-limit was looked at: it counts in fixed windows, runs
 * an async hook per request and adds four headers to each answer.
 */
import type { Effect } from "@debvisor/proto-events/kit";

/** Rate classes. `lifecycle`: making, deleting, moving; `failure`: requests without a valid credential, per address. */
export type RateClass = "read" | "change" | "lifecycle" | "failure";

const LIFECYCLE = /^(create|delete|destroy|migrate|update|revoke)/;

/** The class of an operation, from its effect and the verb its name begins with. */
export function rateClassOf(name: string, effect: Effect): RateClass {
  if (effect === "read") return "read";
  return effect === "destroy" || LIFECYCLE.test(name) ? "lifecycle" : "change";
}

/** Requests per minute of one caller in one class. */
export class TokenBucket {
  readonly perMinute: number;
  #left: number;
  #atMs: number;

  constructor(perMinute: number, nowMs: number) {
    this.perMinute = perMinute;
    this.#left = perMinute;
    this.#atMs = nowMs;
  }

  /** Takes one request out. Returns 0, or the milliseconds until one is there again. A limit of 0 is none. */
  take(nowMs: number): number {
    if (this.perMinute === 0) return 0;
    const perMs = this.perMinute / 60_000;
    this.#left = Math.min(this.perMinute, this.#left + Math.max(0, nowMs - this.#atMs) * perMs);
    this.#atMs = nowMs;
    if (this.#left >= 1) {
      this.#left -= 1;
      return 0;
    }
    return Math.ceil((1 - this.#left) / perMs);
  }
}
