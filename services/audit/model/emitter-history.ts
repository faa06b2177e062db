// SPDX-License-Identifier: Apache-2.0
/** Where the chain of each emitter stood at any place of the trail, for exports that begin later than with record 1. */

/** What a record says of its emitter. `cred` is there when the record shows one. */
export interface EmitterRecord {
  readonly emitter: string;
  readonly n: number;
  readonly boot: string;
  readonly cred: string | null;
}

/** An emitter's last record before a place, and the credentials of its processes that have written after it. */
export interface EmitterPlace {
  readonly emitter: string;
  readonly seq: number;
  readonly n: number;
  readonly credentials: Readonly<Record<string, string>>;
}

interface Process {
  readonly cred: string;
  readonly firstSeq: number;
  lastSeq: number;
}

interface History {
  readonly seqs: number[];
  readonly numbers: number[];
  readonly processes: Map<string, Process>;
}

export class EmitterHistory {
  readonly #histories = new Map<string, History>();

  /** Takes the next record in the order of the trail. */
  take({ emitter, n, boot, cred }: EmitterRecord, seq: number): void {
    const history: History = this.#histories.get(emitter) ?? { seqs: [], numbers: [], processes: new Map() };
    this.#histories.set(emitter, history);
    history.seqs.push(seq);
    history.numbers.push(n);
    const process = history.processes.get(boot);
    if (process) process.lastSeq = seq;
    else if (cred !== null) history.processes.set(boot, { cred, firstSeq: seq, lastSeq: seq });
  }

  /** Every emitter that has a record before `seq`. */
  before(seq: number): EmitterPlace[] {
    return [...this.#histories].flatMap(([emitter, { seqs, numbers, processes }]) => {
      const at = countBelow(seqs, seq) - 1;
      const last = seqs[at];
      const n = numbers[at];
      if (last === undefined || n === undefined) return [];
      const needed = [...processes].filter(([, one]) => one.firstSeq < seq && one.lastSeq >= seq);
      const credentials = Object.fromEntries(needed.map(([boot, { cred }]) => [boot, cred]));
      return [{ emitter, seq: last, n, credentials }];
    });
  }
}

/** How many of the ascending numbers are smaller. */
function countBelow(ascending: readonly number[], limit: number): number {
  let [low, high] = [0, ascending.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ascending[middle] ?? limit) < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
