// SPDX-License-Identifier: Apache-2.0
/** Follows the chain of every emitter: each record names the one before it and counts on by one. */

/** What a record says of its place in its emitter's chain. `leaf`: hash of its own bytes. */
export interface Link {
  readonly emitter: string;
  readonly n: number;
  readonly prev: string | null;
  readonly leaf: string;
}

/** First records remembered of each emitter, so that a replayed one is not taken for a new beginning. */
const MAX_BEGINNINGS = 64;

interface Chain {
  readonly n: number;
  readonly leaf: string;
  readonly beginnings: readonly string[];
}

/** Remembers the last link of each emitter. */
export class ChainWatch {
  readonly #chains = new Map<string, Chain>();

  /**
   * Takes the next link in the order of the trail; returns what is wrong with it, in words. The chain goes on from it. An
   * emitter that lost sight of its own records begins anew, which is no fault; a beginning that was there before is one.
   */
  take({ emitter, n, prev, leaf }: Link): string | undefined {
    const chain = this.#chains.get(emitter);
    const begins = n === 1 && prev === null;
    const known = chain?.beginnings ?? [];
    const beginnings = begins ? [...known, leaf].slice(-MAX_BEGINNINGS) : known;
    this.#chains.set(emitter, { n, leaf, beginnings });
    if (begins) return known.includes(leaf) ? `the first record of ${emitter} comes a second time` : undefined;
    if (chain === undefined) return `the first record of ${emitter} in the trail is its number ${n}`;
    if (n !== chain.n + 1) return `record ${n} of ${emitter} follows its record ${chain.n}`;
    return prev === chain.leaf ? undefined : `record ${n} of ${emitter} names another record before it than is stored`;
  }
}
