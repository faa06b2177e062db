// SPDX-License-Identifier: Apache-2.0
/**
 * The bounded table of instances that mDNS has shown. Bounds hold whatever is sent: 64 entries per tag, 128 per sender,
 * 256 in all; the least recently seen goes first, and one whose tag does not verify goes before one whose tag does.
 *
 * bonjour-service's own Browser is not used because its list grows without bound (10,000 records: 34 MB and 2.0 s of CPU,
 * against 3 MB and 0.2 s for decoding alone), it misses changed addresses, and it does not note when a known instance
 * answers again, so that a dead one could not be told from a live one.
 */
import { TokenBucket } from "../token-bucket.ts";
import { type MdnsTxt, type Observation, type PacketContent, readPacket } from "./mdns-records.ts";

/** An instance that mDNS shows. */
export interface Candidate {
  readonly instance: string;
  readonly port: number;
  /** Sorted, IPv4 before IPv6; the sender's address when the record carries none. */
  readonly addresses: readonly string[];
  readonly txt: MdnsTxt;
  /** Whether the tag was made with our cluster's advertise key. False without a key. */
  readonly verified: boolean;
  /** Address that the record came from. */
  readonly sender: string;
  /** Wall clock in milliseconds of the last answer. */
  readonly seenAt: number;
}

/** A change of the table. `gone` by `goodbye`, `expired` (silent for long) or `evicted` (table full). */
export type CandidateChange =
  | { readonly kind: "up" | "updated"; readonly candidate: Candidate }
  | { readonly kind: "gone"; readonly candidate: Candidate; readonly cause: "goodbye" | "expired" | "evicted" };

/** Bounds and borders of a table. */
export interface CandidateOptions {
  readonly verify?: (txt: MdnsTxt) => boolean;
  readonly now: () => number;
  readonly monotonic: () => number;
  readonly perTag?: number;
  readonly perSender?: number;
  readonly total?: number;
}

interface Entry {
  readonly instance: string;
  txt: MdnsTxt;
  verified: boolean;
  port: number | undefined;
  target: string | undefined;
  sender: string;
  /** Key: local interface and family; a foreign responder answers with other addresses on each interface. */
  readonly addresses: Map<string, readonly string[]>;
  seenAt: number;
  heardAt: number;
  shown: Candidate | undefined;
}

const PUSHES = { burst: 64, everyMs: 50 };

/** A table of candidates. */
export class Candidates {
  readonly #options: CandidateOptions;
  /** In the order of last hearing. */
  readonly #entries = new Map<string, Entry>();
  readonly #pushes: TokenBucket;

  constructor(options: CandidateOptions) {
    this.#options = options;
    this.#pushes = new TokenBucket(PUSHES, options.monotonic());
  }

  /** Number of entries held, complete or not. */
  get size(): number {
    return this.#entries.size;
  }

  /** Takes in a decoded response that came from `sender` on the local interface `at`; returns what changed. */
  receive(packet: unknown, sender: string, at: string): CandidateChange[] {
    const content = readPacket(packet);
    const changes = content.instances.flatMap((seen) => this.#observe(seen, sender));
    const touched = new Set(content.instances.map(({ instance }) => instance));
    const targets = new Set(content.addresses.map(({ target }) => target));
    for (const entry of this.#entries.values()) {
      const addressed = entry.target !== undefined && targets.has(entry.target);
      if (addressed) noteAddresses(entry, content, at);
      if (addressed || touched.has(entry.instance)) changes.push(...show(entry));
    }
    return changes;
  }

  /** Drops what has been silent for longer than `afterMs`; returns what went. */
  expire(afterMs: number): CandidateChange[] {
    const limit = this.#options.monotonic() - afterMs;
    const silent = [...this.#entries.values()].filter(({ heardAt }) => heardAt < limit);
    return silent.flatMap((entry) => this.#drop(entry, "expired"));
  }

  /** Every instance that is complete, by instance name. */
  list(): Candidate[] {
    const shown = [...this.#entries.values()].flatMap((entry) =>
      entry.shown ? [{ ...entry.shown, seenAt: entry.seenAt }] : [],
    );
    return shown.sort((a, b) => (a.instance < b.instance ? -1 : 1));
  }

  #observe(seen: Observation, sender: string): CandidateChange[] {
    const known = this.#entries.get(seen.instance);
    if (seen.gone) return known ? this.#drop(known, "goodbye") : [];
    const txt = seen.txt ?? known?.txt;
    if (!txt) return [];
    const entry = known ?? newEntry(seen.instance, txt, sender);
    if (!known || seen.txt) Object.assign(entry, { txt, verified: this.#options.verify?.(txt) ?? false });
    const evicted = known ? [] : this.#makeRoom(entry);
    if (!evicted) return [];
    Object.assign(entry, {
      port: seen.port ?? entry.port,
      target: seen.target ?? entry.target,
      sender,
      seenAt: this.#options.now(),
      heardAt: this.#options.monotonic(),
    });
    this.#entries.delete(entry.instance);
    this.#entries.set(entry.instance, entry);
    return evicted;
  }

  /** Makes room for `entry`; undefined when it has to stay out. Allocates nothing: a flood comes through here. */
  #makeRoom(entry: Entry): CandidateChange[] | undefined {
    const { perTag = 64, perSender = 128, total = 256 } = this.#options;
    const sameTag = (one: Entry) => one.txt.tag === entry.txt.tag;
    const sameSender = (one: Entry) => !entry.verified && !one.verified && one.sender === entry.sender;
    const anyone = () => true;
    const victim = this.#oldest(sameTag, perTag) ?? this.#oldest(sameSender, perSender) ?? this.#oldest(anyone, total);
    if (victim && !entry.verified && (victim.verified || !this.#mayPush())) return undefined;
    return victim ? this.#drop(victim, "evicted") : [];
  }

  /** Strangers push each other out at a bounded rate; else a flood would turn the whole table over at the speed of the wire. */
  #mayPush(): boolean {
    return this.#pushes.take(this.#options.monotonic()) === 0;
  }

  /** If a crowd has reached its limit: who of it goes first, the unverified before the verified. */
  #oldest(belongs: (one: Entry) => boolean, limit: number): Entry | undefined {
    let count = 0;
    let oldest: Entry | undefined;
    for (const one of this.#entries.values()) {
      if (!belongs(one)) continue;
      count++;
      if (!oldest || (oldest.verified && !one.verified)) oldest = one;
    }
    return count >= limit ? oldest : undefined;
  }

  #drop(entry: Entry, cause: "goodbye" | "expired" | "evicted"): CandidateChange[] {
    this.#entries.delete(entry.instance);
    return entry.shown ? [{ kind: "gone", candidate: entry.shown, cause }] : [];
  }
}

function noteAddresses(entry: Entry, content: PacketContent, at: string): void {
  for (const { target, family, list } of content.addresses) {
    if (entry.target === target) entry.addresses.set(`${family} ${at}`, list);
  }
}

function newEntry(instance: string, txt: MdnsTxt, sender: string): Entry {
  const rest = { verified: false, port: undefined, target: undefined, seenAt: 0, heardAt: 0, shown: undefined };
  return { instance, txt, sender, addresses: new Map(), ...rest };
}

/** Notes the entry's present look; a change only when a reader would see a difference. */
function show(entry: Entry): CandidateChange[] {
  if (entry.port === undefined) return [];
  const known = [...new Set([...entry.addresses.values()].flat())].sort(byFamily);
  const { instance, port, txt, verified, sender, seenAt } = entry;
  const candidate: Candidate = {
    instance,
    port,
    txt,
    verified,
    sender,
    seenAt,
    addresses: known.length > 0 ? known : [sender],
  };
  const before = entry.shown;
  if (before && look(before) === look(candidate)) return [];
  entry.shown = candidate;
  return [{ kind: before ? "updated" : "up", candidate }];
}

function look({ port, addresses, txt, verified }: Candidate): string {
  return JSON.stringify([port, addresses, Object.entries(txt).sort(), verified]);
}

function byFamily(a: string, b: string): number {
  return Number(a.includes(":")) - Number(b.includes(":")) || (a < b ? -1 : a > b ? 1 : 0);
}
