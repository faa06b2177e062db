// SPDX-License-Identifier: Apache-2.0
/** Random numbers that a printed seed replays. */

/** Whole numbers from 0 to below what is asked for: Mulberry32, small, and the same on every machine. */
export type RandomNumbers = (below: number) => number;

/** Numbers of a seed. */
export function randomNumbers(seed: number): RandomNumbers {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** One of several. */
export function pick<T>(random: RandomNumbers, from: readonly T[]): T {
  const one = from[random(from.length)];
  if (one === undefined) throw new Error("nothing to pick from");
  return one;
}

/** The seed of `DV_SEED`, or one of the clock; the test prints it, so that a failure can be replayed. */
export function chosenSeed(): number {
  return Number(process.env["DV_SEED"] ?? Date.now() % 1_000_000);
}
