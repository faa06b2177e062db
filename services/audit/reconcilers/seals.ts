// SPDX-License-Identifier: Apache-2.0
/**
 * Every checkpoint that any sealer stored: follows the stream, checks signature, cluster and generation, and compares each with
 * the tree. A checkpoint that counts and does not fit the trail means that the trail was rolled back or exchanged.
 */
import { setImmediate as turn } from "node:timers/promises";
import type { SealedCheckpoint } from "@debvisor/proto-events/audit";
import { faultOfCheckpoint, witnessesOf } from "@debvisor/shared/audit/checkpoint";
import { parseSeal } from "@debvisor/shared/audit/trail-file";
import type { TrustChain } from "@debvisor/shared/audit/trust";
import type { Bus, Closable, Journal, JournalEntry } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { GENERATION } from "../model/generation.ts";
import type { Alarms } from "./alarms.ts";
import { readRange } from "./read-range.ts";
import type { Trail } from "./trail.ts";

/** Where a checkpoint is stored. */
export interface SealPlace {
  readonly size: number;
  readonly seq: number;
  readonly length: number;
}

/** The latest checkpoint that counts, and the nodes whose cosignatures under it count. */
export interface LatestSeal {
  readonly sealed: SealedCheckpoint;
  readonly witnesses: readonly string[];
}

const TURN = 64;
/** Checkpoints that wait for the tree to grow. */
const MAX_AHEAD = 1_000;
/** Places remembered; more checkpoints than that do not fit into the stream, which drops the oldest. */
const MAX_PLACES = 100_000;

export interface SealsDeps {
  readonly bus: Bus;
  readonly trail: Trail;
  readonly trust: TrustChain;
  readonly alarms: Alarms;
  readonly cluster: string;
  readonly clock: Clock;
}

export class Seals {
  readonly journal: Journal;
  readonly #deps: SealsDeps;
  readonly #places: SealPlace[] = [];
  readonly #ahead: SealedCheckpoint[] = [];
  #latest: LatestSeal | undefined;
  #lastSeq = 0;
  #target: number | undefined;
  #reader: Closable | undefined;

  constructor(deps: SealsDeps) {
    this.#deps = deps;
    this.journal = deps.bus.journal("DV_SEALS");
  }

  get latest(): LatestSeal | undefined {
    return this.#latest;
  }

  /** Last sequence read. */
  get lastSeq(): number {
    return this.#lastSeq;
  }

  /** True once everything that was there at the start has been read. */
  get caughtUp(): boolean {
    return this.#target !== undefined && this.#target <= 0;
  }

  async start(): Promise<void> {
    this.#reader = await this.journal.follow({
      fromSeq: 1,
      onEntry: (entry) => this.#take(entry),
      onStand: (pending) => {
        this.#target ??= pending;
      },
    });
  }

  async stop(): Promise<void> {
    await this.#reader?.stop();
  }

  /** Where the checkpoints with sizes `from` to `to` are, in the order of their storage. */
  placesBetween(from: number, to: number): readonly SealPlace[] {
    return this.#places.filter(({ size }) => size >= from && size <= to);
  }

  /** Lines of checkpoints by their place. @throws UNAVAILABLE */
  async lines(places: readonly SealPlace[]): Promise<string[]> {
    if (places.length === 0) return [];
    const { firstSeq } = await this.journal.range();
    const wanted = new Set(places.map(({ seq }) => seq).filter((seq) => seq >= firstSeq));
    if (wanted.size === 0) return [];
    const [first, last] = [Math.min(...wanted), Math.max(...wanted)];
    const entries = await readRange(this.journal, first, last, this.#deps.clock);
    return entries.filter(({ seq }) => wanted.has(seq)).map(({ text }) => text);
  }

  /** Takes in a checkpoint of this instance's own, without waiting for the stream. */
  note(sealed: SealedCheckpoint): void {
    if (sealed.checkpoint.size < (this.#latest?.sealed.checkpoint.size ?? 0)) return;
    this.#latest = { sealed, witnesses: witnessesOf(sealed, this.#deps.trust) };
  }

  /** Whether a checkpoint is about more records than have been read. */
  get isAhead(): boolean {
    return this.#ahead.length > 0;
  }

  /** Compares what had to wait for the tree. `lastSeq`: last sequence of the trail's stream, when that is certain. */
  compareWaiting(lastSeq?: number): void {
    for (const sealed of this.#ahead.splice(0)) this.#compare(sealed, lastSeq);
  }

  async #take({ key, seq, text }: JournalEntry): Promise<void> {
    if (seq <= this.#lastSeq) return;
    this.#lastSeq = seq;
    const sealed = parseSeal(text);
    const fault = sealed ? this.#faultOf(sealed, key) : "it cannot be read";
    if (sealed && !fault) {
      this.#places.push({ size: sealed.checkpoint.size, seq, length: text.length });
      if (this.#places.length > MAX_PLACES) this.#places.splice(0, MAX_PLACES / 10);
      this.note(sealed);
      this.#compare(sealed);
    } else {
      const detail = `the checkpoint that ${key} stored as number ${seq} does not count: ${fault}`;
      this.#deps.alarms.raise({ key: `checkpoint ${seq} ${detail}`, cause: "checkpoint", seq: null, detail });
    }
    if (this.#target !== undefined) this.#target--;
    if (seq % TURN === 0) await turn();
  }

  #faultOf({ checkpoint }: SealedCheckpoint, key: string): string | undefined {
    if (checkpoint.sealer !== key) return `it is by ${checkpoint.sealer}`;
    if (checkpoint.cluster !== this.#deps.cluster) return "it is another cluster's";
    if (checkpoint.generation !== GENERATION) return `it is about generation ${checkpoint.generation}`;
    return faultOfCheckpoint(checkpoint, this.#deps.trust);
  }

  #compare(sealed: SealedCheckpoint, lastSeq = Number.POSITIVE_INFINITY): void {
    const { trail, alarms } = this.#deps;
    const { size, root } = sealed.checkpoint;
    const key = `rollback ${size} ${root}`;
    if (trail.size >= size) {
      if (trail.tree.root(size) === root) return;
      const detail = `the first ${size} records are not those that ${sealed.checkpoint.sealer} sealed`;
      alarms.raise({ key, cause: "rollback", seq: size, detail });
    } else if (lastSeq < size) {
      alarms.raise({
        key,
        cause: "rollback",
        seq: null,
        detail: `the stream has ${lastSeq} records; ${sealed.checkpoint.sealer} has sealed ${size}`,
      });
    } else {
      this.#ahead.push(sealed);
      if (this.#ahead.length > MAX_AHEAD) this.#ahead.shift();
    }
  }
}
