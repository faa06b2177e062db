// SPDX-License-Identifier: Apache-2.0
/** What a measure is, how its result is written, and the arithmetic for it. */

/** A result: one line of JSON on standard output. Further members are details. */
export interface Figures {
  readonly measure: string;
  /** The bare path; null where there is none. */
  readonly bare: number | null;
  readonly ours: number;
  /** ours / bare, or what the goal is about. */
  readonly ratio: number | null;
  readonly goal: string;
  readonly met: boolean;
  readonly unit: string;
  /** Number of rounds, or of targets. */
  readonly n: number;
  readonly [detail: string]: unknown;
}

/** How a measure is run. */
export interface MeasureContext {
  /** Small and short, to see that everything works. */
  readonly quick: boolean;
  /** Prints a message for people. */
  readonly say: (text: string) => void;
  /** Prints a result. */
  readonly report: (figures: Figures) => void;
}

/** A measure that can be named on the command line. */
export interface Measure {
  readonly name: string;
  readonly summary: string;
  run(context: MeasureContext): Promise<void>;
}

/** The median; the mean of the two in the middle for an even number. */
export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  const upper = sorted[half] ?? 0;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[half - 1] ?? 0)) / 2;
}

/** Rounded to three significant places behind the point for small numbers, to one for large ones. */
export function round(value: number): number {
  return Math.abs(value) < 100 ? Math.round(value * 1_000) / 1_000 : Math.round(value * 10) / 10;
}

/** Runs both sides in turn, so that both see the same weather on a busy machine. Which one is first alternates. */
export async function alternate<T>(
  rounds: number,
  bare: () => Promise<T>,
  ours: () => Promise<T>,
): Promise<{ bare: T[]; ours: T[] }> {
  const results = { bare: [] as T[], ours: [] as T[] };
  for (let i = 0; i < rounds; i++) {
    for (const side of i % 2 === 0 ? (["bare", "ours"] as const) : (["ours", "bare"] as const)) {
      results[side].push(await (side === "bare" ? bare : ours)());
    }
  }
  return results;
}
