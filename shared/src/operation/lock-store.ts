// SPDX-License-Identifier: Apache-2.0
/**
 * Reads and writes bucket dv_locks and keeps the picture of it. Writes are compare-and-set on what the picture knows, so one
 * that was decided on an old picture fails and brings the picture up to date; and one whose answer was lost can be repeated.
 */
import type { Bucket, Closable } from "../bus/bus.ts";
import type { Clock } from "../clock.ts";
import { DvError, toDvError } from "../errors.ts";
import { LockPicture } from "./lock-picture.ts";
import { GONE_TTL_SECONDS, LockRecord } from "./lock-records.ts";

/** Longest time for the attempts of one write, in milliseconds. A server's restart takes less. */
const PATIENCE_MS = 10_000;
const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 500;
/** What a bucket says as well when no answer came, or nobody is there who could answer. */
const UNANSWERED: ReadonlySet<string> = new Set(["TIMEOUT", "UNAVAILABLE"]);

/** The bucket with its picture. */
export class LockStore {
  readonly picture = new LockPicture();
  readonly #bucket: Bucket<LockRecord>;
  readonly #clock: Clock;
  readonly #onChange: (resource: string) => void;
  readonly #closing = new AbortController();
  readonly #first = Promise.withResolvers<void>();
  #ready = false;
  #seen = 0;
  #watch: Closable | undefined;

  constructor(bucket: Bucket<LockRecord>, clock: Clock, onChange: (resource: string) => void) {
    this.#bucket = bucket;
    this.#clock = clock;
    this.#onChange = onChange;
  }

  /** True once everything was read. */
  get ready(): boolean {
    return this.#ready;
  }

  /** Revision up to which the watch has delivered everything. The picture is complete up to here; of later writes it knows some. */
  get seen(): number {
    return this.#seen;
  }

  /** Aborts when the store is closed. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Begins to follow the bucket. @throws BUS_UNAVAILABLE */
  async open(): Promise<void> {
    this.#watch = await this.#bucket.watch(
      ({ key, revision, entry }) => {
        this.#seen = Math.max(this.#seen, revision);
        this.#apply(key, revision, entry?.value);
      },
      () => {
        this.#ready = true;
        this.#first.resolve();
      },
    );
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#first.resolve();
    await this.#watch?.stop();
  }

  /** Resolves when everything was read once. @throws BUS_UNAVAILABLE; the signal's reason */
  async untilReady(signal: AbortSignal | undefined): Promise<void> {
    if (!this.#ready) {
      const stop = new AbortController();
      const given = signal ? [stop.signal, signal] : [stop.signal];
      await Promise.race([this.#first.promise, this.#clock.sleep(PATIENCE_MS, AbortSignal.any(given))]);
      stop.abort();
    }
    signal?.throwIfAborted();
    if (this.closing.aborted) throw closed();
    if (!this.#ready) throw new DvError("BUS_UNAVAILABLE", "The table of locks has not been read yet.");
  }

  /**
   * Writes what a key shall hold, unless it changed since the picture of it. Returns the revision; undefined when it had
   * changed, and then the picture shows how. @throws BUS_UNAVAILABLE when it is unknown whether it was written
   */
  async put(key: string, record: LockRecord): Promise<number | undefined> {
    const known = this.picture.revision(key);
    const options = record.kind === "gone" ? { ttlSeconds: GONE_TTL_SECONDS } : {};
    // An entry that its schema refuses would be invisible to everybody and in everybody's way.
    const value = LockRecord.parse(record);
    try {
      const revision =
        known === undefined
          ? await this.#bucket.create(key, value, options)
          : await this.#bucket.update(key, value, known, options);
      this.#apply(key, revision, value);
      return revision;
    } catch (error) {
      if (toDvError(error).code !== "CONFLICT") throw error;
      await this.look(key);
      return undefined;
    }
  }

  /** Reads a key from the bucket's leader into the picture. @throws BUS_UNAVAILABLE */
  async look(key: string): Promise<void> {
    const entry = await this.#bucket.get(key);
    if (entry) this.#apply(key, entry.revision, entry.value);
    else this.picture.forget(key);
  }

  /**
   * Repeats an attempt until it answers something else than undefined; while the bus is away for at most 10 s.
   * @throws BUS_UNAVAILABLE; the signal's reason
   */
  async until<T>(attempt: () => Promise<T | undefined>, signal?: AbortSignal): Promise<T> {
    const deadline = this.#clock.monotonic() + PATIENCE_MS;
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      signal?.throwIfAborted();
      if (this.closing.aborted) throw closed();
      let failure: DvError | undefined;
      try {
        const result = await attempt();
        if (result !== undefined) return result;
      } catch (error) {
        failure = unanswered(error);
      }
      if (this.#clock.monotonic() >= deadline) {
        throw (
          failure ?? new DvError("BUS_UNAVAILABLE", "An entry of the locks changed faster than it could be written.")
        );
      }
      await this.#clock.sleep(pause, signal ?? this.closing);
    }
  }

  #apply(key: string, revision: number, record: LockRecord | undefined): void {
    const resource = this.picture.apply(key, revision, record);
    if (resource !== undefined) this.#onChange(resource);
  }
}

/** What a failure that leaves the effect unknown is to callers; every other one is thrown. */
function unanswered(error: unknown): DvError {
  const failure = toDvError(error);
  if (failure.code === "BUS_UNAVAILABLE") return failure;
  if (UNANSWERED.has(failure.code)) return new DvError("BUS_UNAVAILABLE", failure.message, { cause: error });
  throw error;
}

/** The error of whatever is asked of a table that was stopped. */
export function closed(): DvError {
  return new DvError("BUS_UNAVAILABLE", "The table of locks has been closed.");
}
