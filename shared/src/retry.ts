// SPDX-License-Identifier: Apache-2.0
/** Trying again with a doubling delay (REQUIREMENTS X-20). */
import { ERROR_KINDS } from "@debvisor/proto-events/errors";
import { type Clock, systemClock } from "./clock.ts";
import { DvError } from "./errors.ts";

/** Longest pause between two attempts, in milliseconds. */
export const MAX_DELAY_MS = 300_000;

/** Options of `retry`. */
export interface RetryOptions {
  /** Attempts in all, the first included. */
  readonly attempts: number;
  /** Pause after the first failure; every further one doubles it. */
  readonly delayMs: number;
  /** Longest pause; never more than `MAX_DELAY_MS`. */
  readonly maxDelayMs?: number;
  /** Which failures may pass by themselves. Default: kinds that the catalogue calls retryable, except `timeout`. */
  readonly isTransient?: (error: unknown) => boolean;
  /** Told before every pause. */
  readonly onRetry?: (error: unknown, attempt: number, delayMs: number) => void;
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock;
}

/** The pause after failure number `attempt` (1, 2, …). */
export function backoffMs(attempt: number, delayMs: number, maxDelayMs: number = MAX_DELAY_MS): number {
  return Math.min(delayMs * 2 ** (attempt - 1), maxDelayMs, MAX_DELAY_MS);
}

/**
 * True for a failure that may pass by itself. `timeout` is left out although its kind is retryable: its effect is unknown,
 * so only a caller that knows its operation to be idempotent may say so.
 */
export function isTransient(error: unknown): boolean {
  return error instanceof DvError && error.kind !== "timeout" && ERROR_KINDS[error.kind].retryable;
}

/** Calls `attempt` until it succeeds, a failure is not transient, the attempts are used up or the signal aborts; then throws the last failure. */
export async function retry<T>(attempt: (number: number) => Promise<T>, options: RetryOptions): Promise<T> {
  const clock = options.clock ?? systemClock;
  const transient = options.isTransient ?? isTransient;
  for (let number = 1; ; number++) {
    try {
      return await attempt(number);
    } catch (error) {
      if (number >= options.attempts || options.signal?.aborted || !transient(error)) throw error;
      const delayMs = backoffMs(number, options.delayMs, options.maxDelayMs);
      options.onRetry?.(error, number, delayMs);
      await clock.sleep(delayMs, options.signal);
      if (options.signal?.aborted) throw error;
    }
  }
}
