// SPDX-License-Identifier: Apache-2.0
/**
 * Waits for a core part that is just starting again, on one server or another: its supervisor needs a second, it needs another. A part
 * that was waited for in vain is not waited for again for a while, so that one that is not there at all costs little.
 */
import type { Clock } from "../clock.ts";
import { retry } from "../retry.ts";
import { isUnanswered } from "./wire.ts";

/** Longest wait of one request, of which it takes half of its time at most. */
const PATIENCE_MS = 3_000;
/** Pauses double, so that many who wait ask little. */
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 200;
/** After a wait in vain. */
const GIVEN_UP_MS = 10_000;

/** What one connection knows of core parts that did not answer. */
export class CorePatience {
  readonly #clock: Clock;
  /** Until when nobody waits for a service, by the monotonic clock. */
  readonly #givenUp = new Map<string, number>();

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
    const isGivenUp = (this.#givenUp.get(service) ?? 0) > startedAt;
    const patienceMs = isGivenUp ? 0 : Math.min(timeoutMs / 2, PATIENCE_MS);
    try {
      const answer = await retry(() => send(timeoutMs - passed()), {
        attempts: Number.POSITIVE_INFINITY,
        delayMs: FIRST_PAUSE_MS,
        maxDelayMs: LONGEST_PAUSE_MS,
        isTransient: (error) => isUnanswered(error) && passed() < patienceMs,
        clock: this.#clock,
      });
      this.#givenUp.delete(service);
      return answer;
    } catch (error) {
      if (!isGivenUp && isUnanswered(error)) this.#givenUp.set(service, this.#clock.monotonic() + GIVEN_UP_MS);
      throw error;
    }
  }
}
