// SPDX-License-Identifier: Apache-2.0
/**
 * The trail as this server knows it: it follows the stream from its first record, keeps the Merkle tree, the latest lines and
 * the open intents, and checks every record as it comes: form, chain, credential, signature. A line that is no record is a leaf
 * like any other. How far it got is kept in a file: after a restart the signatures up to there are not computed again, and a
 * stream that leads to another root is recognised as another trail.
 */
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { AuditRecord } from "@debvisor/proto-events/audit";
import { Sha256 } from "@debvisor/proto-events/primitives";
import { writeFileAtomic } from "@debvisor/shared/atomic-file";
import { isGenuine } from "@debvisor/shared/audit/genuine";
import { leafHash, MerkleTree } from "@debvisor/shared/audit/merkle";
import type { TrailHeader } from "@debvisor/shared/audit/trail-file";
import type { Identity, TrustChain } from "@debvisor/shared/audit/trust";
import type { Bus, Closable, Journal, JournalEntry } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { readJsonFileIfPresent } from "@debvisor/shared/node-files";
import { z } from "zod";
import { ChainWatch } from "../model/chain-watch.ts";
import { EmitterHistory } from "../model/emitter-history.ts";
import { OpenIntents } from "../model/open-intents.ts";
import { RecentLines } from "../model/recent-lines.ts";
import type { Alarms, BreakCause } from "./alarms.ts";
import { readRange } from "./read-range.ts";

const Verified = z.object({ size: z.number().int().nonnegative(), root: Sha256 });
type Verified = z.output<typeof Verified>;

/** Records after which other work gets its turn. */
const TURN = 64;
/** Missing records that are put up with; a stream that begins later than that is no trail. */
const MAX_GAP = 100_000;

export interface TrailDeps {
  readonly bus: Bus;
  readonly trust: TrustChain;
  readonly alarms: Alarms;
  readonly stateDir: string;
  readonly clock: Clock;
}

/** Told of each record that is one, in order. */
export type RecordListener = (record: AuditRecord, seq: number) => void;

export class Trail {
  readonly tree = new MerkleTree();
  readonly open = new OpenIntents();
  readonly journal: Journal;
  readonly #deps: TrailDeps;
  readonly #recent = new RecentLines();
  readonly #chains = new ChainWatch();
  readonly #history = new EmitterHistory();
  /** By emitter and boot id. */
  readonly #credentials = new Map<string, Identity>();
  readonly #listeners: RecordListener[] = [];
  readonly #waiting = new Set<() => void>();
  readonly #file: string;
  readonly #before: Verified | undefined;
  #target: number | undefined;
  #reader: Closable | undefined;
  #saved = 0;
  #stopped = false;

  /** @throws DATA_FOLDER_CORRUPT */
  constructor(deps: TrailDeps) {
    this.#deps = deps;
    this.journal = deps.bus.journal("DV_AUDIT");
    this.#file = join(deps.stateDir, "verified.json");
    this.#before = readJsonFileIfPresent(this.#file, Verified);
  }

  /** Number of records read. */
  get size(): number {
    return this.tree.size;
  }

  /** Number of records that this server had read before it started. */
  get sizeBefore(): number {
    return this.#before?.size ?? 0;
  }

  /** True once everything that was there at the start has been read. */
  get caughtUp(): boolean {
    return this.#target !== undefined && this.size >= this.#target;
  }

  /** Adds somebody who is told of records from now on. */
  onRecord(listener: RecordListener): void {
    this.#listeners.push(listener);
  }

  async start(): Promise<void> {
    this.#reader = await this.journal.follow({
      fromSeq: 1,
      onEntry: (entry) => this.#take(entry),
      onStand: (pending) => {
        this.#target ??= this.size + pending;
      },
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#reader?.stop();
    for (const wake of this.#waiting) wake();
    this.save();
  }

  /** Notes how far the trail has been read, unless what was read before is missing. */
  save(): void {
    if (this.size === this.#saved || this.size < (this.#before?.size ?? 0) || this.#deps.alarms.stopCause) return;
    this.#saved = this.size;
    writeFileAtomic(this.#file, JSON.stringify({ size: this.size, root: this.tree.root() }), 0o600);
  }

  /** Resolves once more than `size` records have been read, or after the time; true in the first case. */
  async grown(size: number, ms: number, signal?: AbortSignal): Promise<boolean> {
    if (this.size > size) return true;
    const waiting = new AbortController();
    const wake = () => (this.size > size || this.#stopped) && waiting.abort();
    this.#waiting.add(wake);
    await this.#deps.clock.sleep(ms, signal ? AbortSignal.any([waiting.signal, signal]) : waiting.signal);
    this.#waiting.delete(wake);
    return this.size > size;
  }

  /** Waits until everything has been read that the stream holds now, so that a reader finds what it has just done. */
  async refresh(ms: number): Promise<void> {
    const { lastSeq } = await this.journal.range();
    if (lastSeq > this.size) await this.grown(lastSeq - 1, ms);
  }

  /** Lines `from` to `to`, both included: from memory, older ones from the stream. @throws UNAVAILABLE */
  async lines(from: number, to: number): Promise<string[]> {
    const last = Math.min(to, this.size);
    if (from > last) return [];
    if (from >= this.#recent.first) return this.#recent.slice(from, last);
    const old = await readRange(this.journal, from, Math.min(last, this.#recent.first - 1), this.#deps.clock);
    const lines = new Map(old.map(({ seq, text }) => [seq, text]));
    return Array.from(
      { length: last - from + 1 },
      (_, index) => lines.get(from + index) ?? this.#kept(from + index) ?? "",
    );
  }

  /** What an export that begins with record `from` says of what came before. */
  before(from: number): NonNullable<TrailHeader["before"]> {
    const emitters = this.#history.before(from).map(({ emitter, seq, n, credentials }) => {
      return [emitter, { n, leaf: this.tree.leaf(seq - 1), credentials }] as const;
    });
    return { peaks: this.tree.peaks(from - 1), emitters: Object.fromEntries(emitters) };
  }

  #kept(seq: number): string | undefined {
    return seq >= this.#recent.first ? this.#recent.slice(seq, seq)[0] : undefined;
  }

  async #take({ key, seq, text }: JournalEntry): Promise<void> {
    if (seq <= this.size || seq > this.size + MAX_GAP) {
      if (seq > this.size) this.#raise("gap", this.size + 1, `the stream goes on with ${seq} after ${this.size}`);
      return;
    }
    if (seq > this.size + 1) {
      this.#raise("gap", this.size + 1, `records ${this.size + 1} to ${seq - 1} are missing from the stream`);
      while (this.size < seq - 1) this.#append("", leafHash(""));
    }
    const leaf = leafHash(text);
    this.#append(text, leaf);
    const record = this.#judge(key, seq, text, leaf);
    this.#compareWithBefore(seq);
    if (record) {
      this.open.take(record, seq, this.#deps.clock.monotonic());
      for (const listener of this.#listeners) listener(record, seq);
    }
    for (const wake of this.#waiting) wake();
    if (seq % TURN === 0) await turn();
  }

  #append(line: string, leaf: string): void {
    this.tree.append(leaf);
    this.#recent.push(line);
  }

  /** The record, when it is one, whatever else is wrong with it. */
  #judge(key: string, seq: number, text: string, leaf: string): AuditRecord | undefined {
    const record = parseRecord(text);
    if (!record || record.emitter !== key) {
      const what = record ? `is by ${record.emitter}` : "is none";
      this.#raise("malformed", seq, `record ${seq}, which ${key} stored, ${what}`);
      return undefined;
    }
    this.#history.take(record, seq);
    const fault = this.#chains.take({ ...record, leaf });
    if (fault) this.#raise("chain", seq, fault);
    const forged = this.#signatureFault(record, seq, text);
    if (forged) this.#raise("signature", seq, `record ${seq} of ${key}: ${forged}`);
    return record;
  }

  #signatureFault(record: AuditRecord, seq: number, text: string): string | undefined {
    const process = `${record.emitter} ${record.boot}`;
    if (record.cred !== null) {
      try {
        const identity = this.#deps.trust.identify(record.cred);
        if (identity.user !== record.emitter) return `the credential is that of ${identity.user}`;
        this.#credentials.set(process, identity);
      } catch (error) {
        if (!(error instanceof TypeError)) throw error;
        return error.message;
      }
    }
    const identity = this.#credentials.get(process);
    if (!identity) return "its process has shown no credential";
    if (seq <= (this.#before?.size ?? 0)) return undefined;
    return isGenuine(text, identity.key) ? undefined : "the signature is wrong";
  }

  #compareWithBefore(seq: number): void {
    const before = this.#before;
    if (before?.size !== seq || this.tree.root() === before.root) return;
    this.#deps.alarms.raise({
      key: `rollback ${before.size} ${before.root}`,
      cause: "rollback",
      seq,
      detail: `the first ${before.size} records are not those that this server has read before`,
    });
  }

  /** Raises the alarm when fewer records are there than this server has read in an earlier life. */
  compareLengthWithBefore(lastSeq: number): void {
    const before = this.#before;
    if (!before || lastSeq >= before.size) return;
    this.#deps.alarms.raise({
      key: `rollback ${before.size} ${before.root}`,
      cause: "rollback",
      seq: null,
      detail: `the stream has ${lastSeq} records; this server has read ${before.size} before`,
    });
  }

  #raise(cause: BreakCause, seq: number, detail: string): void {
    this.#deps.alarms.raise({ key: `${cause} ${seq} ${detail}`, cause, seq, detail });
  }
}

/** Reads a line; undefined for what is no record. */
export function parseRecord(line: string): AuditRecord | undefined {
  try {
    return AuditRecord.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}
