// SPDX-License-Identifier: Apache-2.0
/**
 * The membership as one server sees it: bucket `dv_members` as watched. Every write is a compare-and-set on what was decided from;
 * a conflict is decided anew on what is there then.
 */
import {
  type ClusterEntry,
  type CodeEntry,
  type Member,
  MembershipEntry,
  type TrustEntry,
} from "@debvisor/proto-events/membership";
import type { Bucket, BucketEntry, Bus, Closable } from "@debvisor/shared/bus/bus";
import { DvError, toDvError } from "@debvisor/shared/errors";
import { CLUSTER_KEY, CODE_KEY, membersOf } from "../model/membership.ts";
import { TRUST_KEY } from "../model/trust.ts";

const MAX_TRIES = 8;

type Entry = BucketEntry<MembershipEntry>;

/** The membership of one server. */
export class MembershipStore {
  readonly #bus: Bus;
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Set<() => void>();
  #bucket: Bucket<MembershipEntry> | undefined;
  #watch: Closable | undefined;
  #ready = false;

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /** Begins to watch; resolves when every entry has been read once. @throws BUS_UNAVAILABLE */
  async start(): Promise<void> {
    await this.stop();
    this.#bucket = await this.#bus.bucket("dv_members", MembershipEntry);
    const first = Promise.withResolvers<void>();
    this.#watch = await this.#bucket.watch(({ key, entry }) => this.#note(key, entry), first.resolve);
    await first.promise;
    this.#ready = true;
  }

  async stop(): Promise<void> {
    const watch = this.#watch;
    this.#watch = undefined;
    await watch?.stop();
  }

  get ready(): boolean {
    return this.#ready;
  }

  /** Calls back after every change until stopped. */
  onChange(callback: () => void): Closable {
    this.#listeners.add(callback);
    return {
      stop: () => {
        this.#listeners.delete(callback);
        return Promise.resolve();
      },
    };
  }

  members(): Map<string, Member> {
    return membersOf(this.entries());
  }

  /** Everything that the bucket holds, as it was seen. */
  entries(): MembershipEntry[] {
    return [...this.#entries.values()].map(({ value }) => value);
  }

  member(id: string): Member | undefined {
    const entry = this.#entries.get(id)?.value;
    return entry?.kind === "member" ? entry : undefined;
  }

  /** The member that a caller means by an id or a name; of namesakes the one that belongs. @throws NODE_NOT_FOUND, UNAVAILABLE */
  find(ref: string): Member {
    this.requireReady();
    const namesakes = [...this.members().values()].filter(({ name }) => name === ref);
    const found = this.member(ref) ?? namesakes.find(({ state }) => state !== "removed") ?? namesakes[0];
    if (!found) throw new DvError("NODE_NOT_FOUND", `No node ${ref} is a member.`, { details: { node: ref } });
    return found;
  }

  /** @throws UNAVAILABLE while the entries have not been read, or the founder has not entered the cluster yet */
  cluster(): ClusterEntry {
    const entry = this.#entries.get(CLUSTER_KEY)?.value;
    if (entry?.kind !== "cluster") throw new DvError("UNAVAILABLE", "The membership is still being read.");
    return entry;
  }

  code(): CodeEntry | undefined {
    const entry = this.#entries.get(CODE_KEY)?.value;
    return entry?.kind === "code" ? entry : undefined;
  }

  /** What members believe; undefined before a server has entered it. */
  trust(): TrustEntry | undefined {
    const entry = this.#entries.get(TRUST_KEY)?.value;
    return entry?.kind === "trust" ? entry : undefined;
  }

  /** Notes that a member holds a generation of entry `trust`. `at`: RFC 3339. @throws CONFLICT, BUS_UNAVAILABLE */
  async confirmTrust(id: string, generation: number, at: string): Promise<void> {
    await this.change<Member>(id, (entry) =>
      entry && (entry.trust?.generation ?? 0) < generation ? { ...entry, trust: { generation, at } } : undefined,
    );
  }

  /** @throws UNAVAILABLE */
  requireReady(): void {
    if (!this.#ready) throw new DvError("UNAVAILABLE", "The membership is still being read.");
  }

  /**
   * Decides on the newest entry and writes the outcome by compare-and-set, again after a conflict. `undefined` leaves it alone.
   * `fresh` decides on what the bucket has instead of what was seen. Returns what is there afterwards. @throws what `decide` throws, CONFLICT, BUS_UNAVAILABLE
   */
  async change<T extends MembershipEntry>(
    key: string,
    decide: (entry: T | undefined) => T | undefined,
    { fresh = false }: { readonly fresh?: boolean } = {},
  ): Promise<T | undefined> {
    const bucket = this.#requireBucket();
    for (let tries = 0; ; tries++) {
      const entry = tries === 0 && !fresh ? this.#entries.get(key) : await this.#reread(key);
      const before = entry?.value as T | undefined;
      const value = decide(before);
      if (value === undefined) return before;
      try {
        const revision = await (entry ? bucket.update(key, value, entry.revision) : bucket.create(key, value));
        this.#note(key, { key, value, revision });
        return value;
      } catch (error) {
        if (toDvError(error).code !== "CONFLICT" || tries >= MAX_TRIES) throw error;
      }
    }
  }

  /** Deletes an entry if the newest one passes the test; false when it does not. @throws CONFLICT, BUS_UNAVAILABLE */
  async forget(key: string, test: (entry: MembershipEntry) => boolean): Promise<boolean> {
    const entry = await this.#reread(key);
    if (!entry || !test(entry.value)) return false;
    await this.#requireBucket().delete(key, entry.revision);
    this.#note(key, undefined);
    return true;
  }

  /** Reads one entry from the bucket instead of from memory. @throws BUS_UNAVAILABLE */
  async fresh(key: string): Promise<MembershipEntry | undefined> {
    return (await this.#reread(key))?.value;
  }

  /** Every member as the bucket has it. @throws BUS_UNAVAILABLE */
  async readMembers(): Promise<Map<string, Member>> {
    return membersOf((await this.#requireBucket().list()).map(({ value }) => value));
  }

  async #reread(key: string): Promise<Entry | undefined> {
    const entry = await this.#requireBucket().get(key);
    this.#note(key, entry);
    return entry;
  }

  #note(key: string, entry: Entry | undefined): void {
    const known = this.#entries.get(key);
    if (!entry) this.#entries.delete(key);
    else if (known && known.revision >= entry.revision) return;
    else this.#entries.set(key, entry);
    for (const listener of this.#listeners) listener();
  }

  #requireBucket(): Bucket<MembershipEntry> {
    if (!this.#bucket) throw new DvError("UNAVAILABLE", "The membership is still being read.");
    return this.#bucket;
  }
}
