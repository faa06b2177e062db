// SPDX-License-Identifier: Apache-2.0
/**
 * How long a connection waits before it tries a server again. One that is down is tried soon: most restarts take a second. One that
 * refuses the user is tried ever less often, because a removed machine that is left on must not keep the servers busy, and never given
 * up: left alone, the client of NATS closes for good when it was refused twice, even with days in between.
 */
import { backoffMs } from "../retry.ts";

/** Milliseconds between tries of a server that is down: from the first to the sum of both. */
const SOON_MS = 100;
const SOON_JITTER_MS = 200;
/** After the first refusal; doubles with each further one. */
const REFUSED_MS = 200;
const LONGEST_REFUSED_MS = 10_000;

/** The state of one connection; pure but for chance. */
export class ReconnectDelay {
  readonly #random: () => number;
  #refusals = 0;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** Milliseconds until the next try of the same server. */
  next(): number {
    if (this.#refusals === 0) return SOON_MS + this.#random() * SOON_JITTER_MS;
    return backoffMs(this.#refusals, REFUSED_MS, LONGEST_REFUSED_MS) * (0.75 + this.#random() / 2);
  }

  /** A server refused the user. Returns whether it is the first time since a connection stood. */
  refused(): boolean {
    this.#refusals++;
    return this.#refusals === 1;
  }

  /** A connection stands. */
  connected(): void {
    this.#refusals = 0;
  }
}
