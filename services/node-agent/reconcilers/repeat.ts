// SPDX-License-Identifier: Apache-2.0
/** The timing of the loops: at a fixed rate, one run at a time, never a burst to catch up. */
import type { Clock } from "@debvisor/shared/clock";

/** How a loop runs. */
export interface RepeatOptions {
  readonly clock: Clock;
  readonly everyMs: number;
  /** Time until the first run; default 0: at once. */
  readonly firstAfterMs?: number;
  /** Ends the loop; a run that is under way is not cut. */
  readonly signal: AbortSignal;
  /** Told when a run throws, and not again while the following runs throw as well. */
  readonly onError: (error: unknown) => void;
}

/** Calls `run` at a fixed rate until the signal aborts. Beats that were missed are left out. Never rejects. */
export async function repeat(options: RepeatOptions, run: () => void | Promise<void>): Promise<void> {
  const { clock, everyMs, signal } = options;
  let dueMs = clock.monotonic() + (options.firstAfterMs ?? 0);
  let failing = false;
  while (!signal.aborted) {
    await clock.sleep(Math.max(dueMs - clock.monotonic(), 0), signal);
    if (signal.aborted) return;
    try {
      await run();
      failing = false;
    } catch (error) {
      if (!failing) options.onError(error);
      failing = true;
    }
    dueMs += everyMs * Math.max(1, Math.ceil((clock.monotonic() - dueMs) / everyMs));
  }
}

/** Waits for a promise at most `ms` milliseconds; undefined when it did not settle in time or rejected. Never rejects. */
export async function within<T>(clock: Clock, ms: number, promise: Promise<T>): Promise<T | undefined> {
  const over = new AbortController();
  try {
    return await Promise.race([promise, clock.sleep(ms, over.signal).then(() => undefined)]);
  } catch {
    // The caller asked for a bounded wait, not for the reason; whoever started the work reports its failure.
    return undefined;
  } finally {
    over.abort();
  }
}
