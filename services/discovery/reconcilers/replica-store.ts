// SPDX-License-Identifier: Apache-2.0
/** Bucket `dv_replicas`: what readings found, the rebuild under way, and who wants a reading. */
import { REPLICA_KEYS, type ReadingEntry, type RebuildEntry, ReplicaEntry } from "@debvisor/proto-events/replicas";
import type { Bucket, Bus, Closable } from "@debvisor/shared/bus/bus";
import { toDvError } from "@debvisor/shared/errors";

/** All that the bucket has. */
export interface ReplicaRecords {
  readonly readings: ReadonlyMap<string, ReadingEntry>;
  readonly rebuild: RebuildEntry | undefined;
  /** When a reading was last asked for, in milliseconds since 1970; 0: never. */
  readonly askedAt: number;
}

/** The bucket. */
export class ReplicaStore {
  readonly #bus: Bus;
  #bucket: Bucket<ReplicaEntry> | undefined;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /** @throws BUS_UNAVAILABLE */
  async read(): Promise<ReplicaRecords> {
    const entries = (await (await this.#open()).list()).map(({ value }) => value);
    const readings = entries.filter((one) => one.kind === "reading");
    const asked = entries.find((one) => one.kind === "asked");
    return {
      readings: new Map(readings.map((one) => [one.stream, one])),
      rebuild: entries.find((one) => one.kind === "rebuild"),
      askedAt: asked ? Date.parse(asked.at) : 0,
    };
  }

  /** Writes over whatever is there. @throws BUS_UNAVAILABLE, CONFLICT when somebody else does at the same moment */
  async put(entry: ReplicaEntry): Promise<void> {
    const bucket = await this.#open();
    const key = keyOf(entry);
    const before = await bucket.get(key);
    await (before ? bucket.update(key, entry, before.revision) : bucket.create(key, entry));
  }

  /** Enters a rebuild unless there is one. False when there is. @throws BUS_UNAVAILABLE */
  async begin(entry: RebuildEntry): Promise<boolean> {
    try {
      await (await this.#open()).create(REPLICA_KEYS.rebuild, entry);
      return true;
    } catch (error) {
      if (toDvError(error).code === "CONFLICT") return false;
      throw error;
    }
  }

  /** Changes the rebuild if it is still the one with this id; undefined removes it. @throws BUS_UNAVAILABLE, CONFLICT */
  async end(id: string, next?: RebuildEntry): Promise<void> {
    const bucket = await this.#open();
    const before = await bucket.get(REPLICA_KEYS.rebuild);
    if (before?.value.kind !== "rebuild" || before.value.id !== id) return;
    if (next) await bucket.update(REPLICA_KEYS.rebuild, next, before.revision);
    else await bucket.delete(REPLICA_KEYS.rebuild, before.revision);
  }

  /** Takes a server's damage out of what readings found: its replicas are others now. @throws BUS_UNAVAILABLE, CONFLICT */
  async forgetDamage(server: string, streams: readonly string[]): Promise<void> {
    const { readings } = await this.read();
    for (const reading of streams.flatMap((stream) => readings.get(stream) ?? [])) {
      const damaged = reading.damaged.filter((one) => one.server !== server);
      if (damaged.length < reading.damaged.length) await this.put({ ...reading, damaged });
    }
  }

  /** Calls back with the rebuild whenever it changes. @throws BUS_UNAVAILABLE */
  async watchRebuild(onRebuild: (entry: RebuildEntry | undefined) => void): Promise<Closable> {
    return await (await this.#open()).watch(({ key, entry }) => {
      if (key === REPLICA_KEYS.rebuild) onRebuild(entry?.value.kind === "rebuild" ? entry.value : undefined);
    });
  }

  async #open(): Promise<Bucket<ReplicaEntry>> {
    this.#bucket ??= await this.#bus.bucket("dv_replicas", ReplicaEntry);
    return this.#bucket;
  }
}

function keyOf(entry: ReplicaEntry): string {
  if (entry.kind === "reading") return REPLICA_KEYS.reading(entry.stream);
  return entry.kind === "rebuild" ? REPLICA_KEYS.rebuild : REPLICA_KEYS.asked;
}
