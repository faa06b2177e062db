// SPDX-License-Identifier: Apache-2.0
/**
 * The registry in memory of one server: the bucket's records as watched, and the last heartbeat of every node. Every
 * instance keeps one and answers from it. All writes go through `change`: compare-and-set on a record that carries its
 * events along (outbox), then publishing them under their stored ids, then clearing them.
 */
import { randomBytes } from "node:crypto";
import { discoveryContract } from "@debvisor/proto-events/discovery";
import type { Bucket, BucketEntry, Bus, Closable, PublishOptions } from "@debvisor/shared/bus/bus";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { DvError, toDvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import type { DiscoveryConfig } from "../config.ts";
import {
  forget,
  isNewer,
  type Live,
  NodeRecord,
  nameOwners,
  type OutboxItem,
  type Outcome,
  readHeartbeat,
  type View,
} from "../model/registry.ts";

/** What the store needs. */
export interface StoreDeps {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly log: Logger;
  readonly config: Pick<DiscoveryConfig, "suspectAfterMs" | "lostAfterMs">;
  /** Whether a node was removed from the cluster: what is still heard of it counts no more. */
  readonly isRemoved?: (id: string) => boolean;
}

/** On whose behalf a change is made. */
export interface Author {
  readonly actor?: string;
  readonly requestId?: string;
}

const MAX_TRIES = 8;
/** Heartbeats of nodes without a record are remembered for so many nodes at most. */
const MAX_LIVES = 20_000;

type Entry = BucketEntry<NodeRecord>;

/** The registry of one server. */
export class RegistryStore {
  readonly #deps: StoreDeps;
  readonly #entries = new Map<string, Entry>();
  readonly #lives = new Map<string, Live>();
  readonly #flushing = new Map<string, Promise<void>>();
  #bucket: Bucket<NodeRecord> | undefined;
  #closables: Closable[] = [];
  #listeningSince: number;
  #reconnects: number;
  #ready = false;
  #refused = 0;
  /** Called after each change of a record. */
  onRecord: (record: NodeRecord) => void = () => undefined;

  constructor(deps: StoreDeps) {
    this.#deps = deps;
    this.#listeningSince = deps.clock.monotonic();
    this.#reconnects = deps.bus.reconnects;
  }

  /** Begins to listen and to watch; resolves when every record has been read once. @throws BUS_UNAVAILABLE */
  async start(): Promise<void> {
    const { bus } = this.#deps;
    await this.stop();
    this.#closables = [bus.onTelemetry("node-agent", "heartbeat", ({ origin, data }) => this.#hear(origin, data))];
    this.#bucket = await bus.bucket("dv_nodes", NodeRecord);
    const first = Promise.withResolvers<void>();
    this.#closables.push(await this.#bucket.watch(({ key, entry }) => this.#note(key, entry), first.resolve));
    await first.promise;
    this.#ready = true;
  }

  async stop(): Promise<void> {
    const closables = this.#closables;
    this.#closables = [];
    await Promise.all(closables.map((one) => one.stop()));
    await Promise.allSettled(this.#flushing.values());
  }

  get ready(): boolean {
    return this.#ready;
  }

  /** Heartbeats dropped because they were malformed or about another node than their sender. */
  get refusedHeartbeats(): number {
    return this.#refused;
  }

  /** Records as last seen, the deleted ones included. */
  records(): NodeRecord[] {
    return [...this.#entries.values()].map(({ value }) => value);
  }

  record(id: string): NodeRecord | undefined {
    return this.#entries.get(id)?.value;
  }

  /** The record that a caller means by an id or a name. @throws NODE_NOT_FOUND, UNAVAILABLE while still reading */
  find(ref: string): NodeRecord {
    this.requireReady();
    const byId = this.#entries.get(ref)?.value;
    const record = byId && !byId.deleted ? byId : this.records().find(({ name, deleted }) => name === ref && !deleted);
    if (!record) throw new DvError("NODE_NOT_FOUND", `No node ${ref} is registered.`, { details: { node: ref } });
    return record;
  }

  /** @throws UNAVAILABLE while the records have not been read */
  requireReady(): void {
    if (!this.#ready) throw new DvError("UNAVAILABLE", "The node registry is still being read.");
  }

  live(id: string): Live | undefined {
    return this.#deps.isRemoved?.(id) ? undefined : this.#lives.get(id);
  }

  /** Ids of every node that has a record or was heard. */
  ids(): string[] {
    return [...new Set([...this.#entries.keys(), ...this.#lives.keys()])].filter((id) => !this.#deps.isRemoved?.(id));
  }

  /** What decisions depend on, now. `owners` may be shared by the decisions of one round. */
  view(owners: ReadonlyMap<string, string> = nameOwners(this.records())): View {
    const { clock, config } = this.#deps;
    return {
      now: clock.monotonic(),
      time: timestamp(clock),
      listeningSince: this.#listeningSince,
      suspectAfterMs: config.suspectAfterMs,
      lostAfterMs: config.lostAfterMs,
      ownerOf: (name) => owners.get(name),
    };
  }

  /** Starts the grace anew: heartbeats may have been missed (own pause, lost connection). */
  resetGrace(): void {
    this.#listeningSince = this.#deps.clock.monotonic();
  }

  /** False while the bus is away; a reconnect since the last call resets the grace. */
  isListening(): boolean {
    const { bus } = this.#deps;
    if (!bus.connected || bus.reconnects !== this.#reconnects) {
      this.#reconnects = bus.reconnects;
      this.resetGrace();
    }
    return bus.connected;
  }

  /** The record as the bucket has it now; the picture of the watch may lag. @throws UNAVAILABLE, BUS_UNAVAILABLE */
  async read(id: string): Promise<NodeRecord | undefined> {
    return (await this.#reread(id))?.value;
  }

  /**
   * Decides on the newest record and writes the outcome by compare-and-set, again after a conflict; with `fresh` it does not
   * begin with the picture that may lag. Events follow in the background. Returns the record as it is afterwards.
   * @throws what `decide` throws, CONFLICT, BUS_UNAVAILABLE
   */
  async change(
    id: string,
    decide: (record: NodeRecord | undefined) => Outcome | undefined,
    by: Author = {},
    { fresh = false }: { readonly fresh?: boolean } = {},
  ): Promise<NodeRecord | undefined> {
    const bucket = this.#requireBucket();
    for (let tries = 0; ; tries++) {
      const entry = tries === 0 && !fresh ? this.#entries.get(id) : await this.#reread(id);
      const outcome = decide(entry?.value);
      if (!outcome) return entry?.value;
      const added = outcome.facts.map(
        (fact) => ({ id: randomBytes(16).toString("hex"), ...fact, ...by }) satisfies OutboxItem,
      );
      const value = { ...outcome.record, outbox: [...outcome.record.outbox, ...added] };
      try {
        await this.#write(bucket, id, value, entry?.revision);
        this.publishPending(id);
        return value;
      } catch (error) {
        if (toDvError(error).code !== "CONFLICT" || tries >= MAX_TRIES) throw error;
      }
    }
  }

  /**
   * Deletes the entry of a node that was removed from the cluster, however lately it was heard: it may never be heard again.
   * @throws CONFLICT, BUS_UNAVAILABLE
   */
  async forget(id: string, reason: string, by: Author): Promise<void> {
    await this.change(id, (record) => forget(record, reason), by, { fresh: true });
  }

  /** Publishes what a record still has to announce, unless that is going on. Failures are tried again by the projector. */
  publishPending(id: string): void {
    if (this.#flushing.has(id)) return;
    const work = this.#flush(id)
      .catch((error: unknown) => {
        const { code, message } = toDvError(error);
        this.#deps.log.warn({ node: id, code, error: message }, "registry: an event is not out yet");
      })
      .finally(() => this.#flushing.delete(id));
    this.#flushing.set(id, work);
  }

  async #flush(id: string): Promise<void> {
    for (let entry = this.#entries.get(id); entry; entry = this.#entries.get(id)) {
      const [item] = entry.value.outbox;
      if (item) await this.#publish(id, item);
      else if (!entry.value.deleted) return;
      await this.#clear(id, item?.id);
    }
  }

  async #publish(id: string, { id: eventId, event, payload, actor, requestId }: OutboxItem): Promise<void> {
    const options: PublishOptions & { id: string } = {
      subject: id,
      id: eventId,
      ...(actor ? { actor } : {}),
      ...(requestId ? { requestId } : {}),
    };
    await this.#deps.bus.publishEvent(discoveryContract, event as "node.appeared", payload as never, options);
  }

  /** Takes a published event out of the record; deletes the record after the last one when it is marked so. */
  async #clear(id: string, eventId: string | undefined): Promise<void> {
    for (let tries = 0; ; tries++) {
      const entry = tries === 0 ? this.#entries.get(id) : await this.#reread(id);
      if (!entry) return;
      try {
        return await this.#clearOnce(entry, eventId);
      } catch (error) {
        if (toDvError(error).code !== "CONFLICT" || tries >= MAX_TRIES) throw error;
      }
    }
  }

  async #clearOnce({ key, value, revision }: Entry, eventId: string | undefined): Promise<void> {
    const bucket = this.#requireBucket();
    const outbox = value.outbox.filter((one) => one.id !== eventId);
    if (value.deleted && outbox.length === 0) {
      await bucket.delete(key, revision);
      this.#note(key, undefined);
    } else if (outbox.length < value.outbox.length) {
      await this.#write(bucket, key, { ...value, outbox }, revision);
    }
  }

  async #write(
    bucket: Bucket<NodeRecord>,
    key: string,
    value: NodeRecord,
    revision: number | undefined,
  ): Promise<void> {
    const written = await (revision === undefined ? bucket.create(key, value) : bucket.update(key, value, revision));
    this.#note(key, { key, value, revision: written });
  }

  async #reread(id: string): Promise<Entry | undefined> {
    const entry = await this.#requireBucket().get(id);
    this.#note(id, entry);
    return entry;
  }

  /** Takes in what the watch or an own write says; an older revision never replaces a newer one. */
  #note(key: string, entry: Entry | undefined): void {
    if (!entry) {
      this.#entries.delete(key);
      return;
    }
    const known = this.#entries.get(key);
    if (known && known.revision > entry.revision) return;
    this.#entries.set(key, entry);
    this.onRecord(entry.value);
  }

  #hear(origin: string, data: unknown): void {
    const { clock } = this.#deps;
    const heartbeat = readHeartbeat(origin, data);
    if (!heartbeat) {
      this.#refused++;
      return;
    }
    if (!isNewer(heartbeat, this.#lives.get(origin))) return;
    if (!this.#lives.has(origin) && this.#lives.size >= MAX_LIVES) return;
    this.#lives.set(origin, { heardAt: clock.monotonic(), at: timestamp(clock), heartbeat });
  }

  #requireBucket(): Bucket<NodeRecord> {
    if (!this.#bucket) throw new DvError("UNAVAILABLE", "The node registry is still being read.");
    return this.#bucket;
  }
}
