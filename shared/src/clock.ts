// SPDX-License-Identifier: Apache-2.0
/** Time as an argument, so that a test can set it. Durations use the monotonic clock, which no clock jump touches. */

/** Source of time and timers. */
export interface Clock {
  /** Milliseconds since 1970, wall clock; for records only. */
  now(): number;
  /** Milliseconds from an arbitrary start, monotonic; for durations and deadlines. */
  monotonic(): number;
  /** Resolves after `ms` milliseconds, or at once when the signal aborts. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal?.addEventListener("abort", done, { once: true });
    }),
};

/** RFC 3339 in UTC with milliseconds. */
export function timestamp(clock: Clock = systemClock): string {
  return new Date(clock.now()).toISOString();
}
