// SPDX-License-Identifier: Apache-2.0
/**
 * Who may begin a connection to the join port. Each source address has a bucket of new connections, and all that have not proved
 * themselves share a few places; when these are full, the oldest connection of the source that holds most of them goes. A stranger
 * who tries a thousand times a second pushes out itself and not the machine that comes once.
 */
import { isIPv6 } from "node:net";
import type { Clock } from "../clock.ts";
import { TokenBucket } from "../token-bucket.ts";

/** Bounds of a gate. */
export interface GateLimits {
  /** New connections of one source per second, in the long run. */
  readonly perSecond: number;
  /** New connections of one source at once. */
  readonly burst: number;
  /** Connections without a proof, of all sources together. */
  readonly unproved: number;
}

/** How many sources are remembered; beyond that the one not seen for longest is forgotten and starts anew. */
const SOURCES = 4_096;

/** A connection that has not proved itself. */
export interface Place {
  readonly source: string;
  /** Order of coming. */
  readonly turn: number;
  readonly drop: () => void;
}

/** Lets connections begin, or not. */
export class ConnectionGate {
  readonly #clock: Clock;
  readonly #limits: GateLimits;
  /** In the order of last coming. */
  readonly #buckets = new Map<string, TokenBucket>();
  /** Places by source, each in the order of coming. */
  readonly #places = new Map<string, Set<Place>>();
  #open = 0;
  #turn = 0;

  constructor(clock: Clock, limits: GateLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** Connections without a proof now. */
  get open(): number {
    return this.#open;
  }

  /** Sources that are remembered. */
  get sources(): number {
    return this.#buckets.size;
  }

  /** A place for a new connection from `address`; undefined when its source comes too often. `drop` ends the connection. */
  enter(address: string, drop: () => void): Place | undefined {
    const source = sourceOf(address);
    if (!this.#take(source)) return undefined;
    const place: Place = { source, turn: this.#turn++, drop };
    const same = this.#places.get(source) ?? new Set();
    this.#places.set(source, same.add(place));
    this.#open++;
    if (this.#open > this.#limits.unproved) this.#evict();
    return place;
  }

  /** Gives a place back: the connection has proved itself or has ended. May be called again. */
  leave(place: Place): void {
    const same = this.#places.get(place.source);
    if (!same?.delete(place)) return;
    this.#open--;
    if (same.size === 0) this.#places.delete(place.source);
  }

  #evict(): void {
    let victim: Place | undefined;
    let most = 0;
    for (const same of this.#places.values()) {
      const [oldest] = same;
      if (!oldest || same.size < most || (same.size === most && victim && victim.turn < oldest.turn)) continue;
      victim = oldest;
      most = same.size;
    }
    if (!victim) return;
    this.leave(victim);
    victim.drop();
  }

  #take(source: string): boolean {
    const now = this.#clock.monotonic();
    const { perSecond, burst } = this.#limits;
    const bucket = this.#buckets.get(source) ?? new TokenBucket({ burst, everyMs: 1_000 / perSecond }, now);
    this.#buckets.delete(source);
    this.#buckets.set(source, bucket);
    if (this.#buckets.size > SOURCES) {
      const [forgotten] = this.#buckets.keys();
      if (forgotten !== undefined) this.#buckets.delete(forgotten);
    }
    return bucket.take(now) === 0;
  }
}

/** What counts as one source: an IPv4 address, or the 64 bits of an IPv6 address within which a machine may choose freely. */
export function sourceOf(address: string): string {
  const [plain = "", zone] = address.split("%");
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(plain)?.[1];
  if (mapped) return mapped;
  if (!isIPv6(plain)) return plain;
  const [left = "", right] = plain.split("::");
  const head = left === "" ? [] : left.split(":");
  const tail = right === undefined || right === "" ? [] : right.split(":");
  // An IPv4 address at the end takes two groups, which are beyond the first four anyway unless "::" stands for little.
  const groups = tail.length + head.length + (plain.includes(".") ? 1 : 0);
  const zeros = right === undefined ? 0 : 8 - groups;
  const all = [...head, ...Array.from({ length: zeros }, () => "0"), ...tail];
  const prefix = all.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${prefix.join(":")}::/64${zone === undefined ? "" : `%${zone}`}`;
}
