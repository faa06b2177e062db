// SPDX-License-Identifier: Apache-2.0
/** Collects what a verification finds: each place once for each kind, a bounded number of details, in order of place. */
import type { Finding, FindingKind } from "./verify-report.ts";

const MAX_FINDINGS = 1_000;
/** Kinds that are said and do not fail a verification. */
const NOTICES: ReadonlySet<FindingKind> = new Set(["restarted", "clock"]);

/** Where something was found; what is left out is unknown or does not apply. */
export type Place = Partial<Pick<Finding, "seq" | "toSeq" | "line" | "emitter">>;

/** Findings of one verification. */
export class Findings {
  readonly #kept: Finding[] = [];
  readonly #known = new Set<string>();
  /** Places of failures, for whoever looks for the cause of a contradiction. */
  readonly #seqs: number[] = [];
  #all = 0;
  #failures = 0;

  get inAll(): number {
    return this.#all;
  }

  get hasFailures(): boolean {
    return this.#failures > 0;
  }

  add(kind: FindingKind, detail: string, place: Place = {}): void {
    const { seq = null, toSeq = null, line = null, emitter = null } = place;
    const key = `${kind} ${seq} ${seq === null ? `${line} ${detail}` : emitter}`;
    if (this.#known.has(key)) return;
    const isFailure = !NOTICES.has(kind);
    this.#all++;
    if (isFailure) this.#failures++;
    if (this.#kept.length >= MAX_FINDINGS) return;
    this.#known.add(key);
    if (isFailure && seq !== null) this.#seqs.push(seq);
    this.#kept.push({ kind, isFailure, seq, toSeq, line, emitter, detail });
  }

  /** Whether something failed between two places, both included. */
  hasFailureIn(from: number, to: number): boolean {
    return this.#seqs.some((seq) => seq >= from && seq <= to);
  }

  /** By place; what has none comes last. */
  list(): Finding[] {
    const last = Number.MAX_SAFE_INTEGER;
    return [...this.#kept].sort((a, b) => (a.seq ?? last) - (b.seq ?? last) || (a.line ?? 0) - (b.line ?? 0));
  }
}
