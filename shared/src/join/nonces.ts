// SPDX-License-Identifier: Apache-2.0
/**
 * Numbers that joiners have drawn in the last ten minutes. The exporter already makes a replay worthless; that the same number comes
 * twice shows a broken source of randomness or a replay, and is refused before anything is answered. Bounded: the oldest go first.
 */
import type { Clock } from "../clock.ts";

const KEPT_MS = 600_000;
const KEPT = 8_192;

/** Remembers nonces. */
export class NonceCache {
  readonly #clock: Clock;
  /** By when they came. */
  readonly #seen = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Notes a nonce; false when it came before. */
  admit(nonce: Buffer): boolean {
    const now = this.#clock.monotonic();
    for (const [old, at] of this.#seen) {
      if (now - at < KEPT_MS && this.#seen.size < KEPT) break;
      this.#seen.delete(old);
    }
    const key = nonce.toString("base64");
    if (this.#seen.has(key)) return false;
    this.#seen.set(key, now);
    return true;
  }

  /** How many are remembered, at most 8192. */
  get size(): number {
    return this.#seen.size;
  }
}
