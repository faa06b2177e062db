// SPDX-License-Identifier: Apache-2.0
/**
 * What reading the same messages on several replicas says of each; pure. Reading takes time, and in a bucket messages go meanwhile:
 * one that was missing on a replica at first, and that others have *later*, is missing there, because none ever comes back.
 */

/** Digest of a message on each replica, in the order of the replicas; undefined where it is not. */
export type Digests = readonly (string | undefined)[];

/** What two readings of one message say. */
export interface Comparison {
  /** Places of the replicas that have it neither whole nor at all, against two others that agree. */
  readonly damaged: readonly number[];
  /** Nobody can say who is right. */
  readonly unclear: boolean;
}

/** True when the replicas do not have the same. `expected`: a message with this sequence has to be there. */
export function differs(digests: Digests, expected: boolean): boolean {
  return new Set(digests).size > 1 || (expected && digests.every((digest) => digest === undefined));
}

/** Judges a message that differed at the first reading. */
export function compareReadings(first: Digests, second: Digests, expected: boolean): Comparison {
  if (!differs(second, expected)) return { damaged: [], unclear: false };
  const votes = new Map<string, number>();
  for (const digest of second) if (digest !== undefined) votes.set(digest, (votes.get(digest) ?? 0) + 1);
  const [best] = [...votes].sort(([, a], [, b]) => b - a);
  if (!best || best[1] < 2) return { damaged: [], unclear: true };
  const [right] = best;
  const damaged = second.flatMap((digest, place) => (digest !== right && first[place] !== right ? [place] : []));
  return { damaged, unclear: false };
}
