// SPDX-License-Identifier: Apache-2.0
/** Lets orders that concern one file follow each other, each from looking to answering. */

/** Runs what belongs to one key one after the other. Holds no more keys than are being worked on. */
export function createTurns(): <T>(key: string, work: () => Promise<T>) => Promise<T> {
  const last = new Map<string, Promise<unknown>>();
  return async (key, work) => {
    const turn = (last.get(key) ?? Promise.resolve()).then(work, work);
    last.set(key, turn);
    try {
      return await turn;
    } finally {
      if (last.get(key) === turn) last.delete(key);
    }
  };
}
