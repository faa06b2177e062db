// SPDX-License-Identifier: Apache-2.0
/** A token bucket: so many at once, then one in each interval. For rates of whatever others can make us do. */

/** Bounds of a bucket. */
export interface BucketLimits {
  /** How many may be taken at once, after a pause; 0: there is no limit. */
  readonly burst: number;
  /** Milliseconds after which one more may be taken. */
  readonly everyMs: number;
}

/** Counts by the times that it is given: of a monotonic clock, in milliseconds. */
export class TokenBucket {
  readonly #limits: BucketLimits;
  #left: number;
  #atMs: number;

  constructor(limits: BucketLimits, nowMs: number) {
    this.#limits = limits;
    this.#left = limits.burst;
    this.#atMs = nowMs;
  }

  /** Takes one out. Returns 0, or the milliseconds until one is there again: then nothing was taken. */
  take(nowMs: number): number {
    const { burst, everyMs } = this.#limits;
    if (burst === 0) return 0;
    this.#left = Math.min(burst, this.#left + Math.max(0, nowMs - this.#atMs) / everyMs);
    this.#atMs = nowMs;
    if (this.#left >= 1) {
      this.#left -= 1;
      return 0;
    }
    return Math.ceil((1 - this.#left) * everyMs);
  }
}
