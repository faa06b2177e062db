// SPDX-License-Identifier: Apache-2.0
/**
 * One operation's log in the hands of its owner. Every append is guarded by the last sequence of the operation (RULES.md 21);
 * after an unknown result the tail is read again: the own record found there means success, a claim by somebody else means
 * that this instance has been replaced and must not write again (RULES.md 22).
 */
import { randomBytes } from "node:crypto";
import type { Journal, JournalEntry } from "../bus/bus.ts";
import { type Clock, timestamp } from "../clock.ts";
import { DvError, toDvError } from "../errors.ts";
import { apply, type Folded, fold, type PlacedRecord } from "./fold.ts";
import { LogRecord, type NewRecord } from "./log-record.ts";

/** Longest time that an append is tried. A stream is without leader for 4 to 7 s after a server dies. */
const APPEND_PATIENCE_MS = 30_000;
const RETRY_MS = 150;

/** Thrown when another instance has taken the operation over. Not an error of the operation. */
export class OwnershipLost extends Error {
  override readonly name = "OwnershipLost";
}

/** Reads a record; undefined for one that this version does not understand. */
export function parseEntry(entry: JournalEntry): PlacedRecord | undefined {
  try {
    const parsed = LogRecord.safeParse(JSON.parse(entry.text));
    return parsed.success ? { seq: entry.seq, timeMs: entry.timeMs, record: parsed.data } : undefined;
  } catch {
    return undefined;
  }
}

/** Folds the entries of one operation; undefined when there are none, or one of them cannot be understood here. */
export function foldEntries(entries: readonly JournalEntry[]): Folded | undefined {
  const records = entries.map(parseEntry);
  return records.includes(undefined) ? undefined : fold(records as PlacedRecord[]);
}

export interface LogDeps {
  readonly journal: Journal;
  readonly clock: Clock;
}

/** The log of an operation that this process owns. */
export class OperationLog {
  readonly id: string;
  readonly state: Folded;
  readonly #deps: LogDeps;
  readonly #epoch: number;
  #tail: Promise<unknown> = Promise.resolve();

  private constructor(deps: LogDeps, id: string, state: Folded, epoch: number) {
    this.#deps = deps;
    this.id = id;
    this.state = state;
    this.#epoch = epoch;
  }

  /** Writes the first record. @throws CONFLICT when the operation exists already, BUS_UNAVAILABLE */
  static async create(deps: LogDeps, record: Extract<NewRecord, { t: "created" }>): Promise<OperationLog> {
    const full = complete(record, 1, deps.clock);
    const text = JSON.stringify(full);
    const id = record.operation;
    const deadline = deps.clock.monotonic() + APPEND_PATIENCE_MS;
    const opened = (seq: number, timeMs: number) => {
      const state = fold([{ seq, timeMs, record: full }]);
      if (!state) throw new DvError("INTERNAL", `The log of ${id} does not begin as it should.`);
      return new OperationLog(deps, id, state, 1);
    };
    for (;;) {
      try {
        const seq = await deps.journal.append(id, text, { expected: 0, id: full.rid });
        return opened(seq, deps.clock.now());
      } catch (error) {
        const { code } = toDvError(error);
        const [first] = await deps.journal.read(id).catch(() => []);
        if (first && first.text === text) return opened(first.seq, first.timeMs);
        if (code === "CONFLICT" || first || deps.clock.monotonic() > deadline) throw error;
        await deps.clock.sleep(RETRY_MS);
      }
    }
  }

  /** Takes an operation over. @throws OwnershipLost when somebody else did so first, BUS_UNAVAILABLE */
  static async claim(deps: LogDeps, id: string, owner: string, lastSeen: Folded): Promise<OperationLog> {
    const epoch = lastSeen.epoch + 1;
    const log = new OperationLog(deps, id, lastSeen, epoch);
    await log.append({ t: "claim", owner });
    return log;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** Appends a record. @throws OwnershipLost, BUS_UNAVAILABLE when nothing was acknowledged for 30 s */
  append(record: NewRecord): Promise<void> {
    const appended = this.#tail.then(() => this.#append(complete(record, this.#epoch, this.#deps.clock)));
    this.#tail = appended.catch(() => undefined);
    return appended;
  }

  /** Takes in what others have appended. @throws OwnershipLost, BUS_UNAVAILABLE */
  sync(): Promise<void> {
    const synced = this.#tail.then(() => this.#catchUp(undefined));
    this.#tail = synced.catch(() => undefined);
    return synced.then(() => undefined);
  }

  async #append(record: LogRecord): Promise<void> {
    const { journal, clock } = this.#deps;
    const text = JSON.stringify(record);
    const deadline = clock.monotonic() + APPEND_PATIENCE_MS;
    for (;;) {
      try {
        const seq = await journal.append(this.id, text, { expected: this.state.seq, id: record.rid });
        apply(this.state, { seq, timeMs: clock.now(), record });
        return;
      } catch (error) {
        const { code } = toDvError(error);
        if (code !== "CONFLICT" && code !== "BUS_UNAVAILABLE" && code !== "TIMEOUT" && code !== "UNAVAILABLE")
          throw error;
        if (await this.#stored(record, deadline)) return;
        if (clock.monotonic() > deadline) throw error;
      }
    }
  }

  /** After an unknown or refused append: whether the record is there. */
  async #stored(record: LogRecord, deadline: number): Promise<boolean> {
    const { clock } = this.#deps;
    for (;;) {
      try {
        return await this.#catchUp(record.rid);
      } catch (error) {
        if (error instanceof OwnershipLost || clock.monotonic() > deadline) throw error;
        await clock.sleep(RETRY_MS);
      }
    }
  }

  async #catchUp(rid: string | undefined): Promise<boolean> {
    const entries = await this.#deps.journal.read(this.id);
    let found = false;
    for (const entry of entries) {
      if (entry.seq <= this.state.seq) continue;
      const placed = parseEntry(entry);
      if (!placed) throw new OwnershipLost(`${this.id} holds a record of a newer version`);
      if (placed.record.rid === rid) found = true;
      else if (placed.record.t !== "request") throw new OwnershipLost(`${this.id} was taken over`);
      apply(this.state, placed);
    }
    return found;
  }
}

function complete<R extends NewRecord>(record: R, epoch: number, clock: Clock): LogRecord {
  const base = { v: 1 as const, rid: randomBytes(16).toString("hex"), epoch, at: timestamp(clock) };
  return { ...record, ...base } as unknown as LogRecord;
}
