// SPDX-License-Identifier: Apache-2.0
/**
 * What a node has done for operations (RULES.md 23): the ledger that makes a repeated order harmless and a late one refused.
 * One row for each step; what was there before the effect is captured once and stored before the effect begins, and the answer
 * is stored before it is given.
 *
 * What it holds: SQLite in WAL mode with synchronous=FULL syncs the log at every commit, so what `execute` has stored survives
 * a killed process and, where the disk does what it is told, a power cut. What it does not: the effect itself is not part of
 * the transaction. A crash between effect and answer leaves the row `started`, and `apply` runs again over its own work, with
 * the same `before`; whoever writes an action makes it repeatable and syncs what it writes. Only one process opens a ledger.
 */
import { closeSync, fsyncSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import type { Order } from "../bus/bus.ts";
import type { Clock } from "../clock.ts";
import { DvError, toDvError } from "../errors.ts";
import type { Logger } from "../log.ts";

const SCHEMA_VERSION = 1;
/** Largest JSON of a state before or an answer, in bytes. */
const MAX_JSON = 1024 * 1024;
const MAX_ERROR = 2_000;
/** Longer than the log of operations is kept (30 days), so that nothing is forgotten that could still be ordered. */
const KEEP_MS = 45 * 86_400_000;
const BUSY_TIMEOUT_MS = 5_000;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

/** `started` and `undoing`: begun, not known to have ended. A tombstone is `undone` without having been `started`. */
export type LedgerState = "started" | "done" | "undoing" | "undone";

/** A step as the ledger has it. `result` is the last answer, of whichever direction. */
export interface LedgerEntry {
  readonly operation: string;
  readonly step: string;
  readonly state: LedgerState;
  readonly before: unknown;
  readonly result: unknown;
  /** Why the last attempt failed. */
  readonly error: string | null;
  readonly updatedAtMs: number;
}

/** What carries out a step. `apply` and `undo` may be called again after a crash or a failure, with the same `before`. */
export interface LedgerActions<B, R> {
  /** Captures what is there, as JSON; changes nothing. */
  before(): Promise<B> | B;
  apply(before: B): Promise<R>;
  undo(before: B): Promise<R>;
  /** The answer of undoing a step that never began. */
  nothing(): Promise<R> | R;
}

export interface LedgerOptions {
  readonly log: Logger;
  readonly clock: Clock;
}

interface Row {
  readonly state: LedgerState;
  readonly before: string | null;
  readonly done: string | null;
  readonly undone: string | null;
}

const TABLES = `
  CREATE TABLE IF NOT EXISTS steps (
    operation TEXT NOT NULL, step TEXT NOT NULL, state TEXT NOT NULL,
    before TEXT, done TEXT, undone TEXT, error TEXT, updated INTEGER NOT NULL,
    PRIMARY KEY (operation, step)
  ) STRICT;
  CREATE INDEX IF NOT EXISTS steps_by_time ON steps (updated);
  CREATE TABLE IF NOT EXISTS epochs (operation TEXT PRIMARY KEY, epoch INTEGER NOT NULL, updated INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS fences (
    resource TEXT PRIMARY KEY, fence INTEGER NOT NULL, operation TEXT NOT NULL, updated INTEGER NOT NULL
  ) STRICT;
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** Opens a ledger, making its file (mode 0600) and folder; forgets what is older than 45 days. @throws DATA_FOLDER_CORRUPT, UNAVAILABLE */
export function openLedger(file: string, options: LedgerOptions): Ledger {
  const folder = dirname(file);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // SQLite would make it readable for everybody.
  closeSync(openSync(file, "a", 0o600));
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS });
    database.exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -512; PRAGMA journal_size_limit = 4194304;",
    );
    const { user_version: version } = database.prepare("PRAGMA user_version").get() as { user_version: number };
    if (version > SCHEMA_VERSION)
      throw new DvError("DATA_FOLDER_CORRUPT", `${file} was written by a newer version of DebVisor.`);
    database.exec(TABLES);
    syncFolder(folder);
    const ledger = new Ledger(file, database, options);
    ledger.prune();
    return ledger;
  } catch (error) {
    database?.close();
    throw ledgerError(file, error);
  }
}

/** The ledger of one node. */
export class Ledger {
  readonly #file: string;
  readonly #database: DatabaseSync;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #statements = new Map<string, StatementSync>();
  /** The last execution of each step that is under way; the next one waits for it. */
  readonly #running = new Map<string, Promise<unknown>>();

  constructor(file: string, database: DatabaseSync, options: LedgerOptions) {
    this.#file = file;
    this.#database = database;
    this.#log = options.log;
    this.#clock = options.clock;
  }

  /**
   * Carries out an order, once: a repeat is answered with what is recorded, or goes on where the last attempt ended.
   * @throws COMMAND_FENCED for what a newer owner or operation has overtaken and for `do` of a step that was undone; UNAVAILABLE
   * when the ledger cannot be written, before the effect or, with the effect unknown, after it; what the actions throw
   */
  async execute<B, R>(order: Order, actions: LedgerActions<B, R>): Promise<R> {
    const key = JSON.stringify([order.operation, order.step]);
    const turn = (this.#running.get(key) ?? Promise.resolve()).then(() =>
      order.direction === "do" ? this.#do(order, actions) : this.#undo(order, actions),
    );
    const settled = turn.then(
      () => undefined,
      () => undefined,
    );
    this.#running.set(key, settled);
    try {
      return await turn;
    } finally {
      if (this.#running.get(key) === settled) this.#running.delete(key);
    }
  }

  /** Every step of an operation, in the order of their first start. */
  entries(operation: string): LedgerEntry[] {
    const rows = this.#guard(() =>
      this.#statement("SELECT * FROM steps WHERE operation = ? ORDER BY rowid").all(operation),
    ) as unknown as (Row & { operation: string; step: string; error: string | null; updated: number })[];
    return rows.map((row) => ({
      operation: row.operation,
      step: row.step,
      state: row.state,
      before: decode(row.before),
      result: decode(row.undone ?? row.done),
      error: row.error,
      updatedAtMs: row.updated,
    }));
  }

  /** Forgets steps older than 45 days, and epochs and fences of operations that are gone. */
  prune(): void {
    const cutoff = this.#clock.now() - KEEP_MS;
    const { changes } = this.#transaction(() => {
      const steps = this.#run("DELETE FROM steps WHERE updated < ?", cutoff);
      for (const table of ["epochs", "fences"])
        this.#run(`DELETE FROM ${table} WHERE updated < ? AND operation NOT IN (SELECT operation FROM steps)`, cutoff);
      return steps;
    });
    if (changes > 0) this.#log.info({ steps: Number(changes) }, "old steps were removed from the ledger");
  }

  /** Closes the file. An execution under way fails when it stores its end; the next process repeats it. */
  close(): void {
    this.#statements.clear();
    if (this.#database.isOpen) this.#database.close();
  }

  async #do<B, R>(order: Order, actions: LedgerActions<B, R>): Promise<R> {
    this.#checkFences(order);
    let row = this.#row(order);
    if (row?.state === "done") {
      this.#transaction(() => this.#raise(order));
      return decode(row.done) as R;
    }
    if (row === undefined) {
      const before = encode(await actions.before(), "what was there before");
      this.#transaction(() => {
        this.#checkFences(order);
        this.#raise(order);
        this.#run(
          "INSERT INTO steps (operation, step, state, before, updated) VALUES (?, ?, 'started', ?, ?)",
          ...[order.operation, order.step, before, this.#clock.now()],
        );
      });
      row = { state: "started", before, done: null, undone: null };
    } else if (row.state === "started") this.#transaction(() => this.#raise(order));
    else
      throw new DvError(
        "COMMAND_FENCED",
        `The step ${order.step} of ${order.operation} was undone; it is not done again.`,
      );
    const before = decode(row.before) as B;
    return this.#finish(order, "done", () => actions.apply(before));
  }

  async #undo<B, R>(order: Order, actions: LedgerActions<B, R>): Promise<R> {
    this.#checkFences(order);
    const row = this.#row(order);
    const isTombstone = row === undefined || (row.state === "undone" && row.before === null);
    this.#transaction(() => {
      this.#raise(order);
      if (row === undefined)
        this.#run(
          "INSERT INTO steps (operation, step, state, updated) VALUES (?, ?, 'undone', ?)",
          ...[order.operation, order.step, this.#clock.now()],
        );
      else if (row.state !== "undone") this.#set(order, "state = 'undoing', error = NULL");
    });
    if (row?.state === "undone" && row.undone !== null) return decode(row.undone) as R;
    if (isTombstone) return await this.#finish(order, "undone", async () => await actions.nothing());
    const before = decode(row.before) as B;
    return await this.#finish(order, "undone", () => actions.undo(before));
  }

  /** Runs an action and stores its answer; a failure is noted, and the state stays as it is. */
  async #finish<R>(order: Order, end: "done" | "undone", action: () => Promise<R>): Promise<R> {
    let result: string;
    try {
      result = encode(await action(), "the answer");
    } catch (error) {
      const { code, message } = toDvError(error);
      const cause = error instanceof Error ? error.message : String(error);
      const text = `${code}: ${code === "INTERNAL" ? cause : message}`.slice(0, MAX_ERROR);
      this.#transaction(() => this.#set(order, "error = ?", text));
      throw error;
    }
    this.#transaction(() => this.#set(order, `state = '${end}', ${end} = ?, error = NULL`, result));
    return decode(result) as R;
  }

  #checkFences({ operation, epoch, resource, fence }: Order): void {
    const owner = this.#get<{ epoch: number }>("SELECT epoch FROM epochs WHERE operation = ?", operation);
    if (owner && epoch < owner.epoch)
      throw new DvError("COMMAND_FENCED", `Epoch ${epoch} of ${operation} is over; the node has seen ${owner.epoch}.`);
    if (resource === null || fence === null) return;
    const holder = this.#get<{ fence: number }>("SELECT fence FROM fences WHERE resource = ?", resource);
    if (holder && fence < holder.fence)
      throw new DvError("COMMAND_FENCED", `A newer operation holds ${resource}: fence ${holder.fence}, not ${fence}.`);
  }

  /** Notes epoch and fence as the highest seen. Writes only what grows. */
  #raise({ operation, epoch, resource, fence }: Order): void {
    const now = this.#clock.now();
    this.#run(
      "INSERT INTO epochs VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET epoch = ?2, updated = ?3 WHERE epoch < ?2",
      ...[operation, epoch, now],
    );
    if (resource === null || fence === null) return;
    this.#run(
      `INSERT INTO fences VALUES (?1, ?2, ?3, ?4)
       ON CONFLICT DO UPDATE SET fence = ?2, operation = ?3, updated = ?4 WHERE fence < ?2`,
      ...[resource, fence, operation, now],
    );
  }

  #row({ operation, step }: Order): Row | undefined {
    const sql = "SELECT state, before, done, undone FROM steps WHERE operation = ? AND step = ?";
    return this.#get<Row>(sql, operation, step);
  }

  #set({ operation, step }: Order, change: string, ...values: SQLInputValue[]): void {
    const sql = `UPDATE steps SET ${change}, updated = ? WHERE operation = ? AND step = ?`;
    this.#run(sql, ...values, this.#clock.now(), operation, step);
  }

  #get<T>(sql: string, ...values: SQLInputValue[]): T | undefined {
    return this.#guard(() => this.#statement(sql).get(...values)) as T | undefined;
  }

  #run(sql: string, ...values: SQLInputValue[]): { readonly changes: number | bigint } {
    return this.#guard(() => this.#statement(sql).run(...values));
  }

  /** Everything of it is stored and synced when this returns, or nothing. */
  #transaction<T>(action: () => T): T {
    this.#guard(() => this.#database.exec("BEGIN IMMEDIATE"));
    try {
      const result = action();
      this.#guard(() => this.#database.exec("COMMIT"));
      return result;
    } catch (error) {
      if (this.#database.isOpen && this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.#database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #guard<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw ledgerError(this.#file, error);
    }
  }
}

function ledgerError(file: string, error: unknown): DvError {
  if (error instanceof DvError) return error;
  const { errcode, message } = error as Error & { errcode?: number };
  const primary = errcode === undefined ? undefined : errcode & 0xff;
  if (primary === SQLITE_CORRUPT || primary === SQLITE_NOTADB)
    return new DvError("DATA_FOLDER_CORRUPT", `The ledger ${file} is damaged: ${message}.`, { cause: error });
  return new DvError("UNAVAILABLE", `The ledger ${file} cannot be used: ${message}.`, { cause: error });
}

/** A new file is lost in a power cut when its folder was not synced. */
function syncFolder(folder: string): void {
  const handle = openSync(folder, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/** Wrapped, so that `undefined` comes back as it went in. */
function encode(value: unknown, what: string): string {
  const text = JSON.stringify({ value });
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_JSON)
    throw new DvError("INTERNAL", `${what} has ${bytes} bytes; the ledger keeps at most ${MAX_JSON}.`);
  return text;
}

function decode(text: string | null): unknown {
  return text === null ? undefined : (JSON.parse(text) as { value?: unknown }).value;
}
