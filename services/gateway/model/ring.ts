// SPDX-License-Identifier: Apache-2.0
/** The latest events in memory, bounded in number and bytes. Sequences rise; holes in them are holes in the stream. */

/** What the ring needs to know of an entry. */
export interface Sequenced {
  readonly seq: number;
  readonly timeMs: number;
  readonly bytes: number;
}

/** A first-in-first-out buffer that drops its oldest entries when it is full. */
export class Ring<E extends Sequenced> {
  readonly #maxEntries: number;
  readonly #maxBytes: number;
  readonly #slots: (E | undefined)[];
  #head = 0;
  #size = 0;
  #bytes = 0;

  constructor(maxEntries: number, maxBytes: number) {
    this.#maxEntries = maxEntries;
    this.#maxBytes = maxBytes;
    this.#slots = [];
  }

  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get first(): E | undefined {
    return this.#at(0);
  }

  get last(): E | undefined {
    return this.#at(this.#size - 1);
  }

  /** Adds the newest entry. An entry larger than the whole buffer is kept until the next one comes. */
  push(entry: E): void {
    while (this.#size > 0 && (this.#size >= this.#maxEntries || this.#bytes + entry.bytes > this.#maxBytes))
      this.#drop();
    this.#slots[(this.#head + this.#size) % this.#maxEntries] = entry;
    this.#size++;
    this.#bytes += entry.bytes;
  }

  /** Empties the buffer. */
  clear(): void {
    while (this.#size > 0) this.#drop();
  }

  /** Entries after a sequence, oldest first, at most `limit`. */
  after(seq: number, limit: number): readonly E[] {
    const entries: E[] = [];
    for (let i = this.#search((entry) => entry.seq > seq); i < this.#size && entries.length < limit; i++) {
      const entry = this.#at(i);
      if (entry) entries.push(entry);
    }
    return entries;
  }

  /** The oldest entry at or after a time; entries are in order of time within one stream. */
  atOrAfter(timeMs: number): E | undefined {
    return this.#at(this.#search((entry) => entry.timeMs >= timeMs));
  }

  /** Walks from the newest to the oldest until `visit` returns false. */
  backwards(visit: (entry: E) => boolean): void {
    for (let i = this.#size - 1; i >= 0; i--) {
      const entry = this.#at(i);
      if (!entry || !visit(entry)) return;
    }
  }

  #at(index: number): E | undefined {
    return index < 0 || index >= this.#size ? undefined : this.#slots[(this.#head + index) % this.#maxEntries];
  }

  #drop(): void {
    this.#bytes -= this.#slots[this.#head]?.bytes ?? 0;
    this.#slots[this.#head] = undefined;
    this.#head = (this.#head + 1) % this.#maxEntries;
    this.#size--;
  }

  /** Index of the first entry for which a rising condition holds; the size when there is none. */
  #search(holds: (entry: E) => boolean): number {
    let low = 0;
    let high = this.#size;
    while (low < high) {
      const middle = (low + high) >> 1;
      const entry = this.#at(middle);
      if (entry && holds(entry)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
