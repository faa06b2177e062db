// SPDX-License-Identifier: Apache-2.0
/** Puts off writing to the bus until the end of a turn of the event loop. */

let turn: Promise<void> | undefined;

/**
 * Resolves once the sockets that are ready now have been read. What comes in on many connections in one turn then goes out
 * in one write to the bus; a write for each was a third of the gateway's processor time.
 */
export function endOfTurn(): Promise<void> {
  turn ??= new Promise((resolve) => {
    setImmediate(() => {
      turn = undefined;
      resolve();
    });
  });
  return turn;
}
