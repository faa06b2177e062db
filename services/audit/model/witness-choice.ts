// SPDX-License-Identifier: Apache-2.0
/** Which nodes are asked to cosign a checkpoint, and in what order. */

/** What is known of a node. */
export interface Candidate {
  readonly id: string;
  readonly state: string;
  readonly deleted: boolean;
}

/** Cosignatures that a checkpoint should have. */
export const WANTED_WITNESSES = 2;
/** Most nodes that are asked for one checkpoint. */
const MAX_ASKED = 16;

/**
 * Nodes that live, without the sealer's own, in an order that moves on with the size of the trail, so that over time every
 * node of a large cluster remembers a recent root. Disabled nodes come last: they are no targets, but they can still sign.
 */
export function witnessCandidates(nodes: readonly Candidate[], own: string, size: number): string[] {
  const inState = (wanted: string) =>
    nodes
      .filter(({ id, state, deleted }) => state === wanted && !deleted && id !== own)
      .map(({ id }) => id)
      .sort();
  const alive = inState("alive");
  const start = alive.length === 0 ? 0 : size % alive.length;
  return [...alive.slice(start), ...alive.slice(0, start), ...inState("disabled")].slice(0, MAX_ASKED);
}
