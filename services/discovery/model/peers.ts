// SPDX-License-Identifier: Apache-2.0
/**
 * Which mDNS changes become events, pure. Anybody on the LAN can send records at any rate, so what reaches the event stream
 * is bounded: 64 known peers, 5 events a second, and for peers whose tag does not verify 16 at first and then one in 5 s.
 * Changes wait per peer and merge, so that a peer that comes and goes while waiting costs nothing.
 */
import type { Sighting } from "@debvisor/proto-events/discovery";

/** Most peers that are followed. */
export const MAX_PEERS = 64;
const EVENTS_PER_SECOND = 5;
const STRANGER_BURST = 16;
const STRANGER_EVERY_MS = 5_000;

/** An event to publish. */
export interface PeerFact {
  readonly event: "peer.seen" | "peer.updated" | "peer.gone";
  readonly peer: Sighting;
}

interface Peer {
  /** What readers of the stream know; undefined: nothing yet. */
  told: Sighting | undefined;
  /** What is the case; undefined: gone. */
  now: Sighting | undefined;
}

/** A ledger of peers. Times are monotonic milliseconds. */
export class Peers {
  readonly #peers = new Map<string, Peer>();
  #tokens = EVENTS_PER_SECOND;
  #strangerTokens = STRANGER_BURST;
  #filledAt: number;
  #ignored = 0;

  constructor(startMs: number) {
    this.#filledAt = startMs;
  }

  get size(): number {
    return this.#peers.size;
  }

  /** Newcomers left out because the ledger was full. */
  get ignored(): number {
    return this.#ignored;
  }

  /** Notes that a peer is there, as it is now. */
  present(peer: Sighting): void {
    const entry = this.#peers.get(peer.instance) ?? this.#admit(peer);
    if (entry) entry.now = peer;
  }

  /** Notes that a peer is gone. One that nobody was told of is forgotten. */
  absent(instance: string): void {
    const entry = this.#peers.get(instance);
    if (!entry) return;
    entry.now = undefined;
    if (!entry.told) this.#peers.delete(instance);
  }

  /** The events that may be published at `nowMs`; peers of our own cluster first. */
  take(nowMs: number): PeerFact[] {
    this.#refill(nowMs);
    const facts: PeerFact[] = [];
    for (const [instance, entry] of [...this.#peers].sort(
      ([, a], [, b]) => Number(isStranger(a)) - Number(isStranger(b)),
    )) {
      const fact = factOf(entry);
      const stranger = isStranger(entry);
      if (!fact || this.#tokens < 1 || (stranger && this.#strangerTokens < 1)) continue;
      this.#tokens--;
      if (stranger) this.#strangerTokens--;
      facts.push(fact);
      entry.told = entry.now;
      if (!entry.now) this.#peers.delete(instance);
    }
    return facts;
  }

  /** Takes a fact back that could not be published, so that it is decided anew. */
  giveBack({ event, peer }: PeerFact): void {
    const entry = this.#peers.get(peer.instance) ?? { told: undefined, now: undefined };
    if (event === "peer.seen") entry.told = undefined;
    else if (event === "peer.gone") entry.told ??= peer;
    else entry.told = { ...peer, status: "" };
    if (entry.told || entry.now) this.#peers.set(peer.instance, entry);
    else this.#peers.delete(peer.instance);
  }

  /** Room for a newcomer: a member may take a stranger's place, a stranger nobody's. */
  #admit(peer: Sighting): Peer | undefined {
    if (this.#peers.size >= MAX_PEERS) {
      const stranger = [...this.#peers].find(([, entry]) => isStranger(entry))?.[0];
      if (peer.member === "foreign" || stranger === undefined) {
        this.#ignored++;
        return undefined;
      }
      this.#peers.delete(stranger);
    }
    const fresh: Peer = { told: undefined, now: undefined };
    this.#peers.set(peer.instance, fresh);
    return fresh;
  }

  #refill(nowMs: number): void {
    const passed = Math.max(0, nowMs - this.#filledAt);
    this.#filledAt = nowMs;
    this.#tokens = Math.min(EVENTS_PER_SECOND, this.#tokens + (passed * EVENTS_PER_SECOND) / 1000);
    this.#strangerTokens = Math.min(STRANGER_BURST, this.#strangerTokens + passed / STRANGER_EVERY_MS);
  }
}

function isStranger({ told, now }: Peer): boolean {
  return (now ?? told)?.member === "foreign";
}

function factOf({ told, now }: Peer): PeerFact | undefined {
  if (!told) return now && { event: "peer.seen", peer: now };
  if (!now) return { event: "peer.gone", peer: told };
  return look(told) === look(now) ? undefined : { event: "peer.updated", peer: now };
}

function look({ seenAt: _seenAt, ...rest }: Sighting): string {
  return JSON.stringify(rest);
}
