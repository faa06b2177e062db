// SPDX-License-Identifier: Apache-2.0
/** Bucket `dv_replicas`: what readings found, the rebuild under way, and who wants a reading. */
import { REPLICA_KEYS, type ReadingEntry, type RebuildEntry, ReplicaEntry } from "@debvisor/proto-events/replicas";
import type { Bucket, Bus, Closable } from "@debvisor/shared/bus/bus";
import { DvError, toDvError } from "@debvisor/shared/errors";

/** All that the bucket has. */
export interface ReplicaRecords {
  readonly readings: ReadonlyMap<string, ReadingEntry>;
  readonly rebuild: RebuildEntry | undefined;
  /** When a reading was last asked for, in milliseconds since 1970; 0: never. */
  readonly askedAt: number;
  /** What is bad at present, in words. */
  readonly bad: readonly string[];
}

/** The bucket, as watched. */
export class ReplicaStore {
  readonly #bus: Bus;
  readonly #entries = new Map<string, { readonly revision: number; readonly value: ReplicaEntry | undefined }>();
  readonly #listeners = new Set<() => void>();
  #bucket: Bucket<ReplicaEntry> | undefined;
  #watch: Closable | undefined;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /** True once every entry has been read. */
  get ready(): boolean {
    return this.#watch !== undefined;
  }

  /** Begins to watch; resolves when every entry has been read once. @throws BUS_UNAVAILABLE */
  async start(): Promise<void> {
    const first = Promise.withResolvers<void>();
    this.#bucket = await this.#bus.bucket("dv_replicas", ReplicaEntry);
    const watch = await this.#bucket.watch(
      ({ key, revision, entry }) => this.#note(key, revision, entry?.value),
      first.resolve,
    );
    await first.promise;
    this.#watch = watch;
  }

  async stop(): Promise<void> {
    const watch = this.#watch;
    this.#watch = undefined;
    await watch?.stop();
  }

  /** Calls back now and after every change, until stopped. */
  onChange(callback: () => void): Closable {
    this.#listeners.add(callback);
    callback();
    return {
      stop: () => {
        this.#listeners.delete(callback);
        return Promise.resolve();
      },
    };
  }

  get records(): ReplicaRecords {
    const values = [...this.#entries.values()].flatMap(({ value }) => (value ? [value] : []));
    const readings = values.filter((one) => one.kind === "reading");
    const asked = values.find((one) => one.kind === "asked");
    return {
      readings: new Map(readings.map((one) => [one.stream, one])),
      rebuild: values.find((one) => one.kind === "rebuild"),
      askedAt: asked ? Date.parse(asked.at) : 0,
      bad: values.find((one) => one.kind === "alarm")?.bad ?? [],
    };
  }

  /** Writes over whatever is there. @throws BUS_UNAVAILABLE, CONFLICT when somebody else does at the same moment */
  async put(entry: ReplicaEntry): Promise<void> {
    const bucket = this.#open();
    const key = keyOf(entry);
    const before = await bucket.get(key);
    this.#note(key, await (before ? bucket.update(key, entry, before.revision) : bucket.create(key, entry)), entry);
  }

  /** Enters a rebuild unless there is one. False when there is. @throws BUS_UNAVAILABLE */
  async begin(entry: RebuildEntry): Promise<boolean> {
    try {
      this.#note(REPLICA_KEYS.rebuild, await this.#open().create(REPLICA_KEYS.rebuild, entry), entry);
      return true;
    } catch (error) {
      if (toDvError(error).code === "CONFLICT") return false;
      throw error;
    }
  }

  /** Changes the rebuild if it is still the one with this id; undefined removes it. @throws BUS_UNAVAILABLE, CONFLICT */
  async end(id: string, next?: RebuildEntry): Promise<void> {
    const bucket = this.#open();
    const before = await bucket.get(REPLICA_KEYS.rebuild);
    if (before?.value.kind !== "rebuild" || before.value.id !== id) return;
    if (next) await bucket.update(REPLICA_KEYS.rebuild, next, before.revision);
    else await bucket.delete(REPLICA_KEYS.rebuild, before.revision);
  }

  /** Takes a server's damage out of what readings found: its replicas are others now. @throws BUS_UNAVAILABLE, CONFLICT */
  async forgetDamage(server: string, streams: readonly string[]): Promise<void> {
    for (const reading of streams.flatMap((stream) => this.records.readings.get(stream) ?? [])) {
      const damaged = reading.damaged.filter((one) => one.server !== server);
      if (damaged.length < reading.damaged.length) await this.put({ ...reading, damaged });
    }
  }

  #note(key: string, revision: number, value: ReplicaEntry | undefined): void {
    if ((this.#entries.get(key)?.revision ?? 0) >= revision) return;
    this.#entries.set(key, { revision, value });
    for (const listener of this.#listeners) listener();
  }

  #open(): Bucket<ReplicaEntry> {
    if (!this.#bucket) throw new DvError("UNAVAILABLE", "What is known of the replicas is still being read.");
    return this.#bucket;
  }
}

function keyOf(entry: ReplicaEntry): string {
  return entry.kind === "reading" ? REPLICA_KEYS.reading(entry.stream) : REPLICA_KEYS[entry.kind];
}
