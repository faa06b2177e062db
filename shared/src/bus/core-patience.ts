// SPDX-License-Identifier: Apache-2.0
/**
 * Waits for a core part that is just starting again, on one server or another: its supervisor needs a second, it needs another. A part
 * that was waited for in vain is not waited for again for a while, so that one that is not there at all costs little.
 */
import type { Clock } from "../clock.ts";
import { retry } from "../retry.ts";
import { isUnanswered } from "./wire.ts";

/** Longest wait of one request, which takes half of its time at most. */
const PATIENCE_MS = 3_000;
/** Pauses double, so that many who wait ask little. */
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 200;
/** After a wait in vain. */
const GIVEN_UP_MS = 10_000;

/** A wait in vain: how long it was, and until when nobody waits that long again, by the monotonic clock. */
interface Vain {
  readonly waitedMs: number;
  readonly until: number;
}

/** What one connection knows of core parts that did not answer. */
export class CorePatience {
  readonly #clock: Clock;
  readonly #vain = new Map<string, Vain>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Sends a request until somebody has heard it. `send` is given the time that is left, in milliseconds; nothing came of what nobody
   * heard, so it may be called again. @throws as `send` does
   */
  async send<T>(service: string, timeoutMs: number, send: (timeoutMs: number) => Promise<T>): Promise<T> {
    const startedAt = this.#clock.monotonic();
    const passed = () => this.#clock.monotonic() - startedAt;
    const vain = this.#vain.get(service);
    const waitedMs = vain && vain.until > startedAt ? vain.waitedMs : 0;
    // Others may have had less time, and have waited less.
    const patienceMs = Math.min(timeoutMs / 2, PATIENCE_MS) - waitedMs;
    try {
      const answer = await retry(() => send(timeoutMs - passed()), {
        attempts: Number.POSITIVE_INFINITY,
        delayMs: FIRST_PAUSE_MS,
        // Something is left then of the other half of the time.
        maxDelayMs: Math.min(LONGEST_PAUSE_MS, timeoutMs / 4),
        isTransient: (error) => isUnanswered(error) && passed() < patienceMs,
        clock: this.#clock,
      });
      this.#vain.delete(service);
      return answer;
    } catch (error) {
      if (!isUnanswered(error)) this.#vain.delete(service);
      else if (patienceMs > 0)
        this.#vain.set(service, { waitedMs: waitedMs + patienceMs, until: this.#clock.monotonic() + GIVEN_UP_MS });
      throw error;
    }
  }
}
