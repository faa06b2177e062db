// SPDX-License-Identifier: Apache-2.0
/** Waiting for a condition with an interval and a limit (REQUIREMENTS X-21). */
import { type Clock, systemClock } from "./clock.ts";
import { DvError } from "./errors.ts";
import { formatDuration } from "./units.ts";

/** Options of `waitFor`. */
export interface WaitOptions {
  /** What is waited for, as the end of a sentence: `node-2 to be alive`. */
  readonly what: string;
  /** Longest time in milliseconds. The condition is looked at once even when it is 0. */
  readonly timeoutMs: number;
  /** Pause between two looks. */
  readonly intervalMs: number;
  /** Told before every pause how much time is left. */
  readonly onWait?: (leftMs: number) => void;
  /** Ends the waiting at the next look; the condition should listen to it as well. */
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock;
}

/**
 * Asks `condition` again and again until it returns something else than undefined. What the condition throws is thrown: it
 * knows which of its failures may pass. The last look is at the limit, never after it.
 *
 * @throws TIMEOUT when the limit has passed, and when the signal aborted (`details.aborted`)
 */
export async function waitFor<T>(
  condition: () => Promise<T | undefined> | T | undefined,
  options: WaitOptions,
): Promise<T> {
  const { what, timeoutMs, intervalMs, signal, clock = systemClock } = options;
  const deadline = clock.monotonic() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined) return value;
    const left = deadline - clock.monotonic();
    if (signal?.aborted) {
      throw new DvError("TIMEOUT", `Waiting for ${what} was interrupted.`, { details: { aborted: true } });
    }
    if (left <= 0) {
      const message = `Waiting for ${what} took more than ${formatDuration(timeoutMs)}.`;
      throw new DvError("TIMEOUT", message, { details: { timeoutMs } });
    }
    options.onWait?.(left);
    await clock.sleep(Math.min(intervalMs, left), signal);
  }
}
