// SPDX-License-Identifier: Apache-2.0
/**
 * Copies new records to this host's journal, in order, one after the other. The queue is bounded: what does not fit is counted
 * and logged, never waited for.
 */
import type { AuditRecord } from "@debvisor/proto-events/audit";
import type { Clock } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import { hasJournal, writeJournal } from "../drivers/logger.ts";
import { journalFields } from "../model/journal-fields.ts";

const MAX_QUEUE = 1_000;
/** How often a host without journal is looked at again, and the least time between two complaints. */
const LOOK_MS = 60_000;

export class JournalCopy {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #queue: { readonly record: AuditRecord; readonly seq: number }[] = [];
  readonly #stopping = new AbortController();
  #hasJournal: boolean;
  #lookedAt: number;
  #complainedAt = Number.NEGATIVE_INFINITY;
  #run: Promise<void> | undefined;
  /** Records that are in the journal, and those that were left out. */
  copied = 0;
  dropped = 0;

  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
    this.#hasJournal = hasJournal();
    this.#lookedAt = clock.monotonic();
    if (!this.#hasJournal) log.info("audit: this host has no journal; records are not copied");
  }

  /** Whether records are copied. */
  get isOn(): boolean {
    return this.#hasJournal;
  }

  /** Takes a record; returns at once. */
  add(record: AuditRecord, seq: number): void {
    if (!this.#hasJournal && this.#clock.monotonic() - this.#lookedAt >= LOOK_MS) {
      this.#lookedAt = this.#clock.monotonic();
      this.#hasJournal = hasJournal();
    }
    if (!this.#hasJournal || this.#stopping.signal.aborted) return;
    if (this.#queue.length >= MAX_QUEUE) {
      this.#drop("the queue is full");
      return;
    }
    this.#queue.push({ record, seq });
    this.#run ??= this.#write().finally(() => {
      this.#run = undefined;
    });
  }

  /** Gives what is queued a moment. */
  async stop(): Promise<void> {
    await Promise.race([this.#run, this.#clock.sleep(1_000)]);
    this.#stopping.abort();
  }

  async #write(): Promise<void> {
    for (let next = this.#queue.shift(); next && !this.#stopping.signal.aborted; next = this.#queue.shift()) {
      try {
        await writeJournal(journalFields(next.record, next.seq));
        this.copied++;
      } catch (error) {
        this.#drop(toDvError(error).message);
      }
    }
  }

  #drop(why: string): void {
    this.dropped++;
    const now = this.#clock.monotonic();
    if (now - this.#complainedAt < LOOK_MS) return;
    this.#complainedAt = now;
    this.#log.warn({ dropped: this.dropped, error: why }, "audit: records are missing from this host's journal");
  }
}
