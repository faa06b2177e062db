// SPDX-License-Identifier: Apache-2.0
/** Counts requests per caller and class. Callers that have been quiet for a while are forgotten: their buckets are full again. */
import type { Clock } from "@debvisor/shared/clock";
import type { TokenBucket } from "@debvisor/shared/token-bucket";
import type { GatewayConfig } from "./config.ts";
import { bucketOf, type RateClass } from "./model/rate-limit.ts";

const MAX_CALLERS = 20_000;
const TELL_EVERY_MS = 60_000;

interface Caller {
  readonly buckets: Partial<Record<RateClass, TokenBucket>>;
  toldAtMs: number;
}

export class Limiter {
  readonly #rates: GatewayConfig["rates"];
  readonly #clock: Clock;
  readonly #callers = new Map<string, Caller>();
  /** Told at most once a minute for each caller. */
  onLimited: (caller: string, rateClass: RateClass, limit: number) => void = () => undefined;

  constructor(rates: GatewayConfig["rates"], clock: Clock) {
    this.#rates = rates;
    this.#clock = clock;
  }

  /** Counts one request. Returns 0, or the milliseconds until the next one is allowed. */
  take(key: string, rateClass: RateClass): number {
    const limit = this.#rates[rateClass];
    if (limit === 0) return 0;
    const now = this.#clock.monotonic();
    let caller = this.#callers.get(key);
    if (!caller) {
      if (this.#callers.size >= MAX_CALLERS) this.#callers.clear();
      caller = { buckets: {}, toldAtMs: Number.NEGATIVE_INFINITY };
      this.#callers.set(key, caller);
    }
    let bucket = caller.buckets[rateClass];
    if (!bucket) {
      bucket = bucketOf(limit, now);
      caller.buckets[rateClass] = bucket;
    }
    const waitMs = bucket.take(now);
    if (waitMs > 0 && now - caller.toldAtMs >= TELL_EVERY_MS) {
      caller.toldAtMs = now;
      this.onLimited(key, rateClass, limit);
    }
    return waitMs;
  }
}
