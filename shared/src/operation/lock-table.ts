// SPDX-License-Identifier: Apache-2.0
/**
 * Locks of operations (bucket dv_locks). A lock belongs to an operation, not to a process: it lives until the operation ends,
 * whoever runs it. Its fence, the revision under which it was granted, is what nodes check; the lock itself is a hint.
 */
import type { Lock } from "@debvisor/proto-events/operation";
import type { Bucket, Bus, Closable } from "../bus/bus.ts";
import { type Clock, systemClock, timestamp } from "../clock.ts";
import { DvError, toDvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { LockGrants, lockHeld } from "./lock-grants.ts";
import { Liveness } from "./lock-liveness.ts";
import { type Place, Places } from "./lock-places.ts";
import { LockRecord, waiterKey, waits } from "./lock-records.ts";
import { closed, LockStore } from "./lock-store.ts";

/** What an operation asks for. */
export interface LockClaim {
  readonly operation: string;
  readonly type: string;
  readonly actor: string;
  readonly reason: string | null;
  readonly priority: number;
  /** RFC 3339 time of the operation's deadline. */
  readonly expiresAt: string | null;
  /** Resources such as `node/<id>/service/gateway`; taken in sorted order, so that two operations cannot wait for each other. */
  readonly resources: readonly string[];
}

/** Fence of each resource that was granted. */
export type Fences = Readonly<Record<string, number>>;

/** The table of locks as one process sees it. */
export interface LockTable extends Closable {
  /** True once the bucket has been read. */
  readonly ready: boolean;
  /**
   * Takes all resources of a claim. What the operation holds already is kept, with its fence; so this can be repeated, and
   * whoever adopts the operation calls it again. Without `wait` it fails at once and gives back what it took.
   * With `wait` it queues, fairly: by priority, then by time of asking; and keeps its place when it is asked again.
   * `onWait` is called once for each holder that is in the way; with many waiters that is often, so it must be cheap.
   * @throws LOCK_HELD naming the holder, BUS_UNAVAILABLE, CONFLICT when the operation was released meanwhile; the signal's
   *   reason when aborted (then it stays in the queue, and keeps what it has)
   */
  acquire(
    claim: LockClaim,
    options: { readonly wait: boolean; readonly signal?: AbortSignal; readonly onWait?: (blocker: Lock) => void },
  ): Promise<Fences>;
  /** Gives back everything that an operation holds or waits for, and grants it to the next. @throws BUS_UNAVAILABLE */
  release(operation: string): Promise<void>;
  /** Every lock with its queue in the order of granting. */
  list(): readonly Lock[];
  /** The locks that an operation waits for. */
  blockersOf(operation: string): readonly Lock[];
}

/** What a table of locks works with. */
export interface LockTableOptions {
  readonly bus: Pick<Bus, "bucket">;
  readonly log: Logger;
  readonly clock?: Clock;
  /**
   * Whether an operation exists and has not ended. It must throw while it cannot tell, for instance before the log was read:
   * whoever is not live loses its locks.
   */
  readonly isLive: (operation: string) => Promise<boolean>;
}

const SWEEP_MS = 2_000;
const STOP_MS = 1_000;

/**
 * Opens the table. It may not be `ready` yet; what needs it waits for that.
 * @throws BUS_UNAVAILABLE when the bucket does not answer
 */
export async function openLockTable(options: LockTableOptions): Promise<LockTable> {
  const bucket = await options.bus.bucket("dv_locks", LockRecord);
  const table = new BucketLockTable(bucket, options);
  await table.open();
  return table;
}

class BucketLockTable implements LockTable {
  readonly #store: LockStore;
  readonly #grants: LockGrants;
  readonly #places: Places;
  readonly #liveness: Liveness;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** What was begun without anybody waiting for its end. */
  readonly #background = new Set<Promise<void>>();
  #sweeping: Promise<void> = Promise.resolve();

  constructor(bucket: Bucket<LockRecord>, { clock = systemClock, log, isLive }: LockTableOptions) {
    this.#store = new LockStore(bucket, clock, (resource) => this.#onChange(resource));
    this.#grants = new LockGrants(this.#store, clock, log);
    this.#places = new Places(this.#store.picture);
    this.#liveness = new Liveness(this.#store.picture, isLive, { clock, log });
    this.#clock = clock;
    this.#log = log;
  }

  get ready(): boolean {
    return this.#store.ready;
  }

  async open(): Promise<void> {
    await this.#store.open();
    this.#sweeping = this.#sweepUntilClosed();
  }

  acquire: LockTable["acquire"] = async (claim, { wait, signal, onWait }) => {
    await this.#store.untilReady(signal);
    const taken: string[] = [];
    const fences = new Map<string, number>();
    try {
      for (const resource of [...new Set(claim.resources)].sort()) {
        if (this.#store.picture.lock(resource)?.record.operation !== claim.operation) taken.push(resource);
        const lock = await this.#store.until(() => this.#grants.take(resource, claim), signal);
        if (lock.record.operation === claim.operation) fences.set(resource, lock.revision);
        else if (wait) fences.set(resource, await this.#wait(resource, claim, signal, onWait));
        else throw lockHeld(lock);
      }
      return Object.fromEntries(fences);
    } catch (error) {
      if (!wait) await this.#giveBack(taken, claim.operation);
      throw error;
    }
  };

  async release(operation: string): Promise<void> {
    await this.#store.untilReady(undefined);
    const { picture } = this.#store;
    const places = picture.waitsOf(operation);
    for (const place of places.flatMap((resource) => this.#places.of(resource, operation))) {
      this.#places.refuse(place, withdrawn(place));
    }
    // Places first: otherwise what is given back might come to the operation again.
    await all(places.map((resource) => this.#grants.withdraw(resource, operation)));
    await all(picture.heldBy(operation).map((resource) => this.#grants.handOn(resource, operation)));
  }

  list(): readonly Lock[] {
    return this.#store.picture.list();
  }

  blockersOf(operation: string): readonly Lock[] {
    const { picture } = this.#store;
    const locks = picture.waitsOf(operation).map((resource) => picture.show(resource));
    return locks.filter((lock) => lock !== undefined && lock.operation !== operation) as Lock[];
  }

  async stop(): Promise<void> {
    if (this.#store.closing.aborted) return;
    const closing = this.#store.close();
    for (const place of this.#places.all()) this.#places.refuse(place, closed());
    const ends = Promise.allSettled([closing, this.#sweeping, ...this.#background]);
    await Promise.race([ends, this.#clock.sleep(STOP_MS)]);
  }

  async #wait(
    resource: string,
    claim: LockClaim,
    signal: AbortSignal | undefined,
    onWait: ((blocker: Lock) => void) | undefined,
  ): Promise<number> {
    const place = this.#places.add(resource, claim, onWait);
    const leave = () => this.#places.refuse(place, signal?.reason);
    signal?.addEventListener("abort", leave);
    try {
      await this.#store.until(() => this.#enqueue(place), signal);
      place.queued = true;
      this.#places.settle(place);
      this.#onChange(resource);
      return await place.granted;
    } finally {
      signal?.removeEventListener("abort", leave);
      this.#places.remove(place);
    }
  }

  /** True when the operation has a place in the queue, or the lock. */
  async #enqueue({ resource, asker }: Place): Promise<true | undefined> {
    const { picture } = this.#store;
    const key = waiterKey(resource, asker.operation);
    const isDone = () =>
      picture.waiter(resource, asker.operation) !== undefined ||
      picture.lock(resource)?.record.operation === asker.operation;
    if (!isDone()) await this.#store.put(key, waits(resource, asker, timestamp(this.#clock)));
    return isDone() || undefined;
  }

  #onChange(resource: string): void {
    const { picture } = this.#store;
    this.#places.settleAll(resource);
    const lock = picture.lock(resource);
    if (lock && this.#grants.isVoid(lock.record)) {
      this.#begin(() => this.#grants.handOn(resource, lock.record.operation));
    }
    const first = lock ? undefined : picture.first(resource);
    if (first && this.#places.has(resource, first.record.operation)) {
      this.#begin(() => this.#grants.grantFirst(resource));
    }
  }

  #begin(action: () => Promise<void>): void {
    const run = action()
      .catch((error: unknown) => {
        const { code, message } = toDvError(error);
        this.#log.debug({ code, error: message }, "locks: left to the sweep");
      })
      .finally(() => this.#background.delete(run));
    this.#background.add(run);
  }

  async #giveBack(resources: readonly string[], operation: string): Promise<void> {
    try {
      await all(resources.map((resource) => this.#grants.handOn(resource, operation)));
    } catch (error) {
      // The operation is refused, so it is not live, and the sweep frees what it has.
      const { code, message } = toDvError(error);
      this.#log.warn({ operation, code, error: message }, "locks: what was taken could not be given back");
    }
  }

  async #sweepUntilClosed(): Promise<void> {
    const { closing } = this.#store;
    while (!closing.aborted) {
      await this.#clock.sleep(SWEEP_MS, closing);
      if (closing.aborted || !this.#store.ready) continue;
      try {
        await this.#sweep();
      } catch (error) {
        const { code, message } = toDvError(error);
        if (!closing.aborted) this.#log.debug({ code, error: message }, "locks: a sweep was cut short");
      }
    }
  }

  /** Repairs what a crash or a lost message has left behind. */
  async #sweep(): Promise<void> {
    for (const resource of this.#store.picture.unclaimed()) await this.#grants.grantFirst(resource);
    await this.#grants.tidy();
    for (const operation of await this.#liveness.sweep()) {
      this.#log.warn({ operation }, "locks: freed what an operation held that is not live");
      await this.release(operation);
    }
    for (const place of this.#places.all()) if (this.#isLost(place)) await this.#restore(place);
  }

  #isLost({ queued, resource, asker }: Place): boolean {
    const { picture } = this.#store;
    const holds = picture.lock(resource)?.record.operation === asker.operation;
    return queued && !holds && picture.waiter(resource, asker.operation) === undefined;
  }

  /** Somebody else removed the entry of a caller that waits here: rightly if its operation has ended. */
  async #restore(place: Place): Promise<void> {
    const live = await this.#liveness.look(place.asker.operation);
    if (live === false) this.#places.refuse(place, withdrawn(place));
    if (live) await this.#enqueue(place);
  }
}

function withdrawn({ resource, asker }: Place): DvError {
  return new DvError("CONFLICT", `Operation ${asker.operation} waits no more for the lock on ${resource}.`);
}

/** Waits for all of them to end, then throws the first failure. */
async function all(actions: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(actions)) if (result.status === "rejected") throw result.reason;
}
