// SPDX-License-Identifier: Apache-2.0
/** Steps of the start that need the bus. Each is tried until it succeeds, beside the others; readiness names the first that has not. */
import type { Closable } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import type { Logger } from "@debvisor/shared/log";

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;

interface Step {
  readonly name: string;
  readonly run: () => Promise<void>;
  done: boolean;
}

export class Starter {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #steps: Step[] = [];
  readonly #checks: { readonly name: string; readonly holds: () => boolean }[] = [];
  readonly #abort = new AbortController();
  /** What the steps opened and nobody else closes. */
  readonly opened: Closable[] = [];

  constructor(log: Logger, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Adds a step. */
  add(name: string, run: () => Promise<void>): void {
    this.#steps.push({ name, run, done: false });
  }

  /** Adds a condition that follows some time after its step. */
  check(name: string, holds: () => boolean): void {
    this.#checks.push({ name, holds });
  }

  /** The first thing that is still missing. */
  waitsFor(): string | undefined {
    return this.#steps.find((step) => !step.done)?.name ?? this.#checks.find(({ holds }) => !holds())?.name;
  }

  start(): void {
    for (const step of this.#steps) void this.#persist(step);
  }

  stop(): void {
    this.#abort.abort();
  }

  async #persist(step: Step): Promise<void> {
    for (let pauseMs = FIRST_PAUSE_MS; !this.#abort.signal.aborted; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
      try {
        await step.run();
        step.done = true;
        return;
      } catch (error) {
        this.#log.debug({ step: step.name, error: String(error) }, "a step of the start failed and is tried again");
        await this.#clock.sleep(pauseMs, this.#abort.signal);
      }
    }
  }
}
