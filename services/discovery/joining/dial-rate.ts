// SPDX-License-Identifier: Apache-2.0
/**
 * How often a machine dials places that nothing but mDNS has named (RULES.md part 5): anybody on the LAN can name some, and must not
 * have this machine call others all day.
 */
import type { Clock } from "@debvisor/shared/clock";
import { TokenBucket } from "@debvisor/shared/token-bucket";

/** Five servers with four addresses each are dialled at once when they appear; then five dials a second. */
export const DIALS = { burst: 20, everyMs: 200 };

/** The bucket of those dials. */
export class DialRate {
  readonly #clock: Clock;
  readonly #bucket: TokenBucket;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#bucket = new TokenBucket(DIALS, clock.monotonic());
  }

  /** Whether one may be dialled now; it counts then. */
  take(): boolean {
    return this.#bucket.take(this.#clock.monotonic()) === 0;
  }

  /** Waits until one may be dialled, 200 ms at most for one who waits alone; returns at once when the signal aborts. */
  async turn(signal: AbortSignal): Promise<void> {
    for (;;) {
      const waitMs = signal.aborted ? 0 : this.#bucket.take(this.#clock.monotonic());
      if (waitMs === 0) return;
      await this.#clock.sleep(waitMs, signal);
    }
  }
}
