// SPDX-License-Identifier: Apache-2.0
/** The service instances on the bus. Asking takes a fixed time, so callers within a second share one answer. */
import type { Bus, InstanceStats } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";

const WAIT_MS = 250;
const FRESH_MS = 1_000;

export class InstanceCensus {
  readonly #bus: Bus;
  readonly #clock: Clock;
  #asked: { readonly atMs: number; readonly answer: Promise<readonly InstanceStats[]> } | undefined;

  constructor(bus: Bus, clock: Clock) {
    this.#bus = bus;
    this.#clock = clock;
  }

  /** Every instance that answers. @throws BUS_UNAVAILABLE */
  list(): Promise<readonly InstanceStats[]> {
    const now = this.#clock.monotonic();
    if (!this.#asked || now - this.#asked.atMs > FRESH_MS) {
      const answer = this.#bus.instances(WAIT_MS);
      answer.catch(() => {
        this.#asked = undefined;
      });
      this.#asked = { atMs: now, answer };
    }
    return this.#asked.answer;
  }
}
