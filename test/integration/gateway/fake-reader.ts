// SPDX-License-Identifier: Apache-2.0
/** A subscriber's connection without a network: it keeps the text of what it gets, and takes it at once or when told to. */
import type { EndReason, Sink } from "../../../services/gateway/events/subscriber.ts";
import { sseSeqs } from "./stream-client.ts";

export class FakeReader implements Sink {
  readonly wire = "sse";
  queued = 0;
  /** Why it was ended, if it was. */
  ended: EndReason | undefined;
  /** Called once, before the first bytes arrive. */
  onFirst: (() => void) | undefined;
  #slow: boolean;
  #text = "";
  readonly #waiting = new Set<() => void>();

  constructor(slow: boolean) {
    this.#slow = slow;
  }

  get seqs(): readonly number[] {
    return sseSeqs(this.#text);
  }

  get caughtUp(): boolean {
    return this.#text.includes('"caught-up"');
  }

  get gaps(): number {
    return this.#text.split('"control":"gap"').length - 1;
  }

  write(chunk: Buffer): void {
    this.onFirst?.();
    this.onFirst = undefined;
    this.#text += chunk.toString();
    if (this.#slow) this.queued += chunk.length;
  }

  /** Takes what is there; `fast`: and from now on everything at once. */
  take(fast = false): void {
    this.queued = 0;
    if (fast) this.#slow = false;
    this.wake();
  }

  drained(ms: number): Promise<void> {
    if (this.queued === 0 || this.ended) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#waiting.add(done);
    });
  }

  /** The connection is gone: nobody waits for it any more. */
  wake(): void {
    for (const done of [...this.#waiting]) done();
  }

  end(reason: EndReason): void {
    this.ended = reason;
    this.wake();
  }
}
