// SPDX-License-Identifier: Apache-2.0
/**
 * The locks and queues as one process knows them. It may be behind the bucket, never wrong about the past: every change has
 * its revision, and an older one never replaces a newer one. Pure.
 */
import type { Lock } from "@debvisor/proto-events/operation";
import { dequeue, enqueue, type Waiter, waiterOf } from "./lock-queue.ts";
import { type HeldRecord, type LockRecord, lockKey, waiterKey } from "./lock-records.ts";

/** A lock that is held. Its revision is its fence. */
export interface HeldLock {
  readonly revision: number;
  readonly record: HeldRecord;
}

interface Row {
  lock: HeldLock | undefined;
  readonly queue: Waiter[];
  shown: Lock | undefined;
}

/** Locks and queues, kept up to date by `apply`. */
export class LockPicture {
  readonly #entries = new Map<string, { readonly revision: number; readonly record: LockRecord }>();
  readonly #rows = new Map<string, Row>();
  /** Resources by operation. */
  readonly #held = new Map<string, Set<string>>();
  readonly #waits = new Map<string, Set<string>>();
  readonly #fulfilled = new Map<string, Waiter>();

  /** Takes note of an entry, or of its end. Returns the resource that it is about; undefined for one never heard of. */
  apply(key: string, revision: number, record: LockRecord | undefined): string | undefined {
    const known = this.#entries.get(key);
    const resource = record?.resource ?? known?.record.resource;
    if (resource === undefined || (known && known.revision >= revision)) return resource;
    const row = this.#rows.get(resource) ?? { lock: undefined, queue: [], shown: undefined };
    this.#rows.set(resource, row);
    row.shown = undefined;
    if (known) this.#remove(row, key, known.record);
    this.#entries.delete(key);
    if (record) {
      this.#entries.set(key, { revision, record });
      this.#add(row, key, revision, record);
    }
    if (!row.lock && row.queue.length === 0) this.#rows.delete(resource);
    return resource;
  }

  /** Drops the mark of an entry that is over. What is held or waits stays: only a change with a revision ends that. */
  forget(key: string): void {
    if (this.#entries.get(key)?.record.kind === "gone") this.#entries.delete(key);
  }

  /** Last known revision of a key; undefined when there is no entry. */
  revision(key: string): number | undefined {
    return this.#entries.get(key)?.revision;
  }

  /** Who holds a resource. */
  lock(resource: string): HeldLock | undefined {
    return this.#rows.get(resource)?.lock;
  }

  /** Who is granted a resource next. */
  first(resource: string): Waiter | undefined {
    return this.#rows.get(resource)?.queue[0];
  }

  /** An operation's entry in a queue; undefined when it has none, or has been granted what it waited for. */
  waiter(resource: string, operation: string): Waiter | undefined {
    const key = waiterKey(resource, operation);
    const entry = this.#entries.get(key);
    if (entry?.record.kind !== "waits" || this.#fulfilled.has(key)) return undefined;
    return waiterOf(key, entry.revision, entry.record);
  }

  /** Resources that an operation holds. */
  heldBy(operation: string): string[] {
    return [...(this.#held.get(operation) ?? [])];
  }

  /** Resources for which an operation has an entry in the queue. */
  waitsOf(operation: string): string[] {
    return [...(this.#waits.get(operation) ?? [])];
  }

  /** Operations that hold something, and those that wait for something. */
  operations(): { readonly holders: readonly string[]; readonly waiters: readonly string[] } {
    return { holders: [...this.#held.keys()], waiters: [...this.#waits.keys()] };
  }

  /** Revision of the last thing that an operation asked for; 0 when it has nothing. */
  lastAsked(operation: string): number {
    const locks = this.heldBy(operation).map((resource) => this.lock(resource));
    const asked = locks.map((lock) => lock?.record.queued ?? lock?.revision ?? 0);
    const places = this.waitsOf(operation).map((resource) => this.revision(waiterKey(resource, operation)) ?? 0);
    return Math.max(0, ...asked, ...places);
  }

  /** Resources that nobody holds although somebody waits. */
  unclaimed(): string[] {
    return [...this.#rows].filter(([, row]) => !row.lock && row.queue.length > 0).map(([resource]) => resource);
  }

  /** Entries of waiters that were granted what they waited for, and that nobody has removed yet. */
  fulfilled(): Waiter[] {
    return [...this.#fulfilled.values()];
  }

  /** A lock with its queue, as lists show it. */
  show(resource: string): Lock | undefined {
    const row = this.#rows.get(resource);
    if (!row?.lock) return undefined;
    row.shown ??= shownLock(row.lock, row.queue);
    return row.shown;
  }

  /** Every lock with its queue, by resource. */
  list(): Lock[] {
    return [...this.#rows.keys()]
      .sort()
      .map((resource) => this.show(resource))
      .filter((lock) => lock !== undefined);
  }

  #add(row: Row, key: string, revision: number, record: LockRecord): void {
    if (record.kind === "held") {
      row.lock = { revision, record };
      index(this.#held, record.operation, record.resource);
      const waiter = dequeue(row.queue, record.operation);
      if (waiter) this.#fulfilled.set(waiter.key, waiter);
    }
    if (record.kind === "waits") {
      const waiter = waiterOf(key, revision, record);
      index(this.#waits, record.operation, record.resource);
      // Whoever has the lock waits no more, even if its entry is seen late or was written twice.
      if (row.lock?.record.operation === record.operation) this.#fulfilled.set(key, waiter);
      else enqueue(row.queue, waiter);
    }
  }

  #remove(row: Row, key: string, record: LockRecord): void {
    if (record.kind === "held") {
      row.lock = undefined;
      unindex(this.#held, record.operation, record.resource);
    }
    if (record.kind === "waits") {
      unindex(this.#waits, record.operation, record.resource);
      if (!this.#fulfilled.delete(key)) dequeue(row.queue, record.operation);
    }
  }
}

/** Key of the entry that says who holds a resource, and its last known revision. */
export function lockRevision(picture: LockPicture, resource: string): number {
  return picture.revision(lockKey(resource)) ?? 0;
}

function shownLock({ revision, record }: HeldLock, queue: readonly Waiter[]): Lock {
  const { resource, operation, type, actor, reason, since, expiresAt } = record;
  const waiting = queue.map(({ shown }) => shown);
  return { resource, operation, type, actor, reason, since, expiresAt, fence: revision, waiting };
}

function index(map: Map<string, Set<string>>, operation: string, resource: string): void {
  const set = map.get(operation) ?? new Set();
  map.set(operation, set.add(resource));
}

function unindex(map: Map<string, Set<string>>, operation: string, resource: string): void {
  const set = map.get(operation);
  set?.delete(resource);
  if (set?.size === 0) map.delete(operation);
}
