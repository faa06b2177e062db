// SPDX-License-Identifier: Apache-2.0
/**
 * Every operation as one process sees it, by following the log stream. What is open is kept whole, what has ended as one line of
 * the list; more than that is read from the stream when somebody asks. The picture may lag: decisions rest on compare-and-set.
 */
import type { OperationSummary } from "@debvisor/proto-events/operation";
import type { Closable, Journal, JournalEntry } from "../bus/bus.ts";
import type { Clock } from "../clock.ts";
import { toDvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { apply, type Folded, fold } from "./fold.ts";
import { foldEntries, parseEntry } from "./operation-log.ts";
import { operationView, summaryOf } from "./view.ts";

/** Ended operations in the list; older ones are found by their id only. */
const MOST_ENDED = 20_000;
/** Time between two attempts to read what the bus does not answer for, in milliseconds. */
const RETRY_MS = 200;

export interface CatalogueDeps {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Follows the log stream from its beginning. */
export class Catalogue {
  readonly #deps: CatalogueDeps;
  readonly #open = new Map<string, Folded>();
  readonly #ended = new Map<string, OperationSummary>();
  /** Operations with a record that this version does not understand. They are left to others. */
  readonly #foreign = new Set<string>();
  readonly #listeners = new Set<(id: string, entry: JournalEntry) => void>();
  readonly #stop = new AbortController();
  #reader: Closable | undefined;
  #pending = Number.POSITIVE_INFINITY;

  constructor(deps: CatalogueDeps) {
    this.#deps = deps;
  }

  /** Undefined once everything that was stored before the start has been read. */
  get waitsFor(): string | undefined {
    return this.#pending <= 0 ? undefined : "the operation log";
  }

  async start(): Promise<void> {
    this.#reader = await this.#deps.journal.follow({
      fromSeq: 1,
      onStand: (pending) => {
        this.#pending = pending;
      },
      onEntry: async (entry) => {
        await this.#take(entry);
        this.#pending--;
        for (const listener of this.#listeners) listener(entry.key, entry);
      },
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#reader?.stop();
  }

  /** Calls back after each record has been taken in. */
  onEntry(listener: (id: string, entry: JournalEntry) => void): Closable {
    this.#listeners.add(listener);
    return {
      stop: () => {
        this.#listeners.delete(listener);
        return Promise.resolve();
      },
    };
  }

  /** Operations that are not closed, as last seen. */
  open(): ReadonlyMap<string, Folded> {
    return this.#open;
  }

  /** True for an operation that some other version of this software has to run. */
  isForeign(id: string): boolean {
    return this.#foreign.has(id);
  }

  /** Whether an operation is known and has not ended; undefined when it is not known (yet). */
  isLive(id: string): boolean | undefined {
    if (this.#foreign.has(id)) return true;
    const open = this.#open.get(id);
    // What has ended gives back its locks itself, until it is closed.
    if (open) return true;
    return this.#ended.has(id) ? false : undefined;
  }

  /** Every operation of the list, newest first. */
  list(): OperationSummary[] {
    const open = [...this.#open.values()].map((folded) => summaryOf(operationView(folded)));
    return [...open, ...this.#ended.values()].sort((a, b) => ((a.createdAt ?? "") < (b.createdAt ?? "") ? 1 : -1));
  }

  /** How many operations of a type began since a time (milliseconds since 1970); refused ones do not count. */
  acceptedSince(type: string, sinceMs: number): number {
    const counts = (operation: { type: string; state: string; createdAt: string | null }) =>
      operation.type === type && operation.state !== "refused" && Date.parse(operation.createdAt ?? "") >= sinceMs;
    const open = [...this.#open.values()].map(({ created, state }) => ({
      type: created.type,
      state,
      createdAt: created.at,
    }));
    return [...open, ...this.#ended.values()].filter(counts).length;
  }

  /** The state by the log itself. @throws BUS_UNAVAILABLE */
  async read(id: string): Promise<Folded | undefined> {
    return foldEntries(await this.#deps.journal.read(id));
  }

  async #take(entry: JournalEntry): Promise<void> {
    const { key: id } = entry;
    if (this.#foreign.has(id)) return;
    const placed = parseEntry(entry);
    const known = this.#open.get(id);
    if (!placed) this.#leave(id);
    else if (known) apply(known, placed);
    else if (placed.record.t === "created") {
      const folded = fold([placed]);
      if (folded) this.#open.set(id, folded);
    } else await this.#reopen(id, entry.seq);
    const folded = this.#open.get(id);
    if (folded?.closed) this.#close(id, folded);
  }

  /**
   * Something more about an operation that was closed: a rollback. Its log is read until the bus answers; nobody would ever adopt an
   * operation that this picture does not show, and no later record says that it is there.
   */
  async #reopen(id: string, seq: number): Promise<void> {
    const entries = await this.#readPatiently(id);
    const folded = foldEntries(entries.filter((entry) => entry.seq <= seq));
    if (!folded) return;
    this.#ended.delete(id);
    this.#open.set(id, folded);
  }

  /** Without a bus no further record comes either, so waiting here holds up nothing. */
  async #readPatiently(id: string): Promise<JournalEntry[]> {
    const { journal, clock } = this.#deps;
    while (!this.#stop.signal.aborted) {
      try {
        return await journal.read(id);
      } catch (error) {
        if (toDvError(error).code !== "BUS_UNAVAILABLE") throw error;
        await clock.sleep(RETRY_MS, this.#stop.signal);
      }
    }
    return [];
  }

  #leave(id: string): void {
    this.#open.delete(id);
    this.#foreign.add(id);
    this.#deps.log.warn({ operation: id }, "an operation holds a record that this version does not understand");
  }

  #close(id: string, folded: Folded): void {
    this.#open.delete(id);
    this.#ended.delete(id);
    this.#ended.set(id, summaryOf(operationView(folded)));
    const [oldest] = this.#ended.keys();
    if (this.#ended.size > MOST_ENDED && oldest !== undefined) this.#ended.delete(oldest);
  }
}
