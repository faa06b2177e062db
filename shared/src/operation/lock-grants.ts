// SPDX-License-Identifier: Apache-2.0
/**
 * How a lock passes from one operation to the next. Whoever gives it back writes the first waiter into it with one
 * compare-and-set; a lock that is free although somebody waits is granted by the first waiter's own process, or by the sweep.
 * So a release costs two messages, however many wait.
 */
import { type Clock, timestamp } from "../clock.ts";
import { DvError, toDvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { type HeldLock, lockRevision } from "./lock-picture.ts";
import type { Waiter } from "./lock-queue.ts";
import { type Asker, type HeldRecord, held, lockKey, waiterKey } from "./lock-records.ts";
import type { LockStore } from "./lock-store.ts";

/** For how long a withdrawn place is remembered, in milliseconds: longer than any write can be on its way. */
const WITHDRAWN_MS = 60_000;

/** Grants and takes back locks. */
export class LockGrants {
  readonly #store: LockStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** Places that were withdrawn here: key of the entry, its revision, and when. */
  readonly #withdrawn = new Map<string, { readonly revision: number; readonly at: number }>();
  readonly #granting = new Set<string>();

  constructor(store: LockStore, clock: Clock, log: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * One attempt to take a resource, fairly: when it is free although somebody waits, the first waiter gets it. Returns who
   * holds it then; undefined when that is not clear yet. @throws BUS_UNAVAILABLE
   */
  async take(resource: string, asker: Asker): Promise<HeldLock | undefined> {
    const { picture } = this.#store;
    // What the picture shows as held may have been given back elsewhere a moment ago.
    if (picture.lock(resource)) await this.#store.look(lockKey(resource));
    if (!picture.lock(resource)) {
      if (picture.first(resource)) await this.grantFirst(resource);
      else await this.#store.put(lockKey(resource), held(resource, asker, timestamp(this.#clock), null));
    }
    return picture.lock(resource);
  }

  /** Grants a free resource to its first waiter, if there is one. Losing that race is no failure. @throws BUS_UNAVAILABLE */
  async grantFirst(resource: string): Promise<void> {
    if (this.#granting.has(resource)) return;
    this.#granting.add(resource);
    try {
      const first = this.#next(resource);
      if (!first || this.#store.picture.lock(resource)) return;
      await this.#grant(resource, first);
    } finally {
      this.#granting.delete(resource);
    }
  }

  /** Gives back a resource if the operation holds it, to the first waiter. @throws BUS_UNAVAILABLE */
  async handOn(resource: string, operation: string): Promise<void> {
    await this.#store.until(async () => {
      if (this.#store.picture.lock(resource)?.record.operation !== operation) return true;
      const next = this.#next(resource);
      if (next) return (await this.#grant(resource, next)) || undefined;
      return (await this.#store.put(lockKey(resource), { kind: "gone", resource })) && true;
    });
  }

  /** Takes an operation out of a queue. @throws BUS_UNAVAILABLE */
  async withdraw(resource: string, operation: string): Promise<void> {
    const key = waiterKey(resource, operation);
    await this.#store.until(async () => {
      if (!this.#store.picture.waitsOf(operation).includes(resource)) return true;
      const revision = this.#store.picture.revision(key) ?? 0;
      // Before the write: somebody may grant it at this very moment.
      this.#withdrawn.set(key, { revision, at: this.#clock.monotonic() });
      return (await this.#store.put(key, { kind: "gone", resource })) && true;
    });
  }

  /** Whether a lock was granted to a place that had been withdrawn here; nobody would ever give that one back. */
  isVoid({ resource, operation, queued }: HeldRecord): boolean {
    return queued !== null && this.#withdrawn.get(waiterKey(resource, operation))?.revision === queued;
  }

  /** Removes the entries of waiters that have what they waited for, and forgets old withdrawals. */
  async tidy(): Promise<void> {
    for (const waiter of this.#store.picture.fulfilled()) await this.#consume(waiter);
    const old = this.#clock.monotonic() - WITHDRAWN_MS;
    for (const [key, { at }] of this.#withdrawn) if (at < old) this.#withdrawn.delete(key);
  }

  /**
   * The next in the queue; undefined also while the watch has not delivered the lock's last change: until then the queue may
   * show somebody who had the lock before it. Then it is left free, and the first waiter's process takes it.
   */
  #next(resource: string): Waiter | undefined {
    const { picture, seen } = this.#store;
    return lockRevision(picture, resource) <= seen ? picture.first(resource) : undefined;
  }

  /** False when somebody else changed the lock. */
  async #grant(resource: string, waiter: Waiter): Promise<boolean> {
    const record = held(resource, waiter.record, timestamp(this.#clock), waiter.revision);
    if ((await this.#store.put(lockKey(resource), record)) === undefined) return false;
    await this.#consume(waiter);
    return true;
  }

  /** Best effort: the sweep removes what is left, and nobody counts it as waiting. */
  async #consume({ key, revision, record: { resource } }: Waiter): Promise<void> {
    if (this.#store.picture.revision(key) !== revision) return;
    try {
      await this.#store.put(key, { kind: "gone", resource });
    } catch (error) {
      const { code } = toDvError(error);
      this.#log.debug({ resource, code }, "locks: the entry of a waiter that was granted its lock is left for now");
    }
  }
}

/** The error that names who holds a lock. */
export function lockHeld({ record }: HeldLock): DvError {
  const { resource, operation, type, actor, reason, since } = record;
  const message = `The lock on ${resource} is held by operation ${operation} (${type}) of ${actor} since ${since}.`;
  return new DvError("LOCK_HELD", message, {
    details: { resource, holder: { operation, type, actor, reason, since } },
  });
}
