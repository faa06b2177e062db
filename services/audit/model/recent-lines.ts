// SPDX-License-Identifier: Apache-2.0
/** The latest lines of the trail, bounded in number and size; what is older is read from the stream. */

/** Most lines kept, and most characters. */
const MAX_LINES = 20_000;
const MAX_CHARACTERS = 16 * 1024 * 1024;

export class RecentLines {
  #lines: string[] = [];
  /** Index of the oldest line that still counts; what is before it goes when it is half of all. */
  #start = 0;
  #characters = 0;
  /** Sequence of the line after the latest. */
  #next = 1;
  readonly #maxLines: number;
  readonly #maxCharacters: number;

  constructor(maxLines: number = MAX_LINES, maxCharacters: number = MAX_CHARACTERS) {
    this.#maxLines = maxLines;
    this.#maxCharacters = maxCharacters;
  }

  /** Sequence of the oldest line kept; one more than the latest when there is none. */
  get first(): number {
    return this.#next - (this.#lines.length - this.#start);
  }

  push(line: string): void {
    this.#lines.push(line);
    this.#characters += line.length;
    this.#next++;
    while (this.#lines.length - this.#start > this.#maxLines || this.#characters > this.#maxCharacters) {
      this.#characters -= this.#lines[this.#start]?.length ?? 0;
      this.#start++;
    }
    if (this.#start > 1_000 && this.#start * 2 > this.#lines.length) {
      this.#lines = this.#lines.slice(this.#start);
      this.#start = 0;
    }
  }

  /** Lines `from` to `to`, both included. @throws RangeError when one of them is not kept */
  slice(from: number, to: number): string[] {
    if (from < this.first || to >= this.#next) throw new RangeError(`lines ${from} to ${to} are not kept`);
    const offset = this.#start - this.first;
    return this.#lines.slice(from + offset, to + 1 + offset);
  }
}
