// SPDX-License-Identifier: Apache-2.0
/**
 * One ordered reader of the event stream for all subscribers of this gateway, with the latest events in a ring. Subscribers
 * with the same filter share a lane: the events of one turn of the event loop become one chunk of bytes, and each subscriber
 * costs one write however many events are in it.
 */
import type { Bus, Closable, StoredEvent } from "@debvisor/shared/bus/bus";
import type { Logger } from "@debvisor/shared/log";
import { retry } from "@debvisor/shared/retry";
import type { EventKey } from "../model/event-query.ts";
import { Ring } from "../model/ring.ts";
import { EventEntry, type Wire } from "./entry.ts";

/** A subscriber that has caught up. */
export interface LiveSubscriber {
  readonly wire: Wire;
  readonly subscription: { readonly key: string; readonly matches: (event: EventKey) => boolean };
  /** Takes frames; may end itself when it cannot keep up. */
  deliver(chunk: Buffer): void;
  /** Events between `from` and `to` are lost. */
  gap(from: number, to: number, reason: string): void;
}

interface Lane {
  readonly wire: Wire;
  readonly matches: (event: EventKey) => boolean;
  readonly subscribers: Set<LiveSubscriber>;
  pending: Buffer[];
}

/** Reason of a gap that retention made. */
export const EXPIRED = "the stream no longer holds these events";

/** How long the reader may be silent at the start before what is missing counts as not readable. */
const SETTLE_MS = 2_000;
/** Bytes of one chunk; a turn with more makes several, so that a subscriber's queue is looked at in between. */
const CHUNK_BYTES = 256 * 1024;

export class EventHub {
  readonly #bus: Bus;
  readonly #log: Logger;
  readonly #ring: Ring<EventEntry>;
  readonly #preload: number;
  readonly #lanes = new Map<string, Lane>();
  readonly #waiters = new Set<() => void>();
  #reader: Closable | undefined;
  #settle: NodeJS.Timeout | undefined;
  #target = 0;
  #flushDue = false;
  #pendingBytes = 0;
  #stopped = false;
  /** Sequence of the last event read. */
  lastSeq = 0;
  /** True once the latest stored event has been read. */
  ready = false;
  /** Stored messages that were no events. */
  malformed = 0;

  constructor(bus: Bus, log: Logger, buffer: { readonly entries: number; readonly bytes: number }) {
    this.#bus = bus;
    this.#log = log;
    this.#ring = new Ring(buffer.entries, buffer.bytes);
    this.#preload = buffer.entries;
  }

  /** The latest events. */
  get ring(): Ring<EventEntry> {
    return this.#ring;
  }

  /** Starts to read, a buffer's length before the end. @throws BUS_UNAVAILABLE */
  async start(): Promise<void> {
    const { firstSeq, lastSeq } = await this.#bus.eventRange();
    const fromSeq = Math.max(firstSeq, lastSeq - this.#preload + 1, 1);
    this.#target = lastSeq;
    this.lastSeq = fromSeq - 1;
    this.#progress();
    this.#armSettle();
    this.#reader = await this.#bus.readEvents({ fromSeq, onEvent: (event) => this.#take(event) });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#settle);
    for (const wake of this.#waiters) wake();
    await this.#reader?.stop();
  }

  /** First and last sequence of the stream, asked for until the bus answers (30 s). @throws BUS_UNAVAILABLE */
  range(signal?: AbortSignal): Promise<{ firstSeq: number; lastSeq: number }> {
    return retry(() => this.#bus.eventRange(), {
      attempts: 40,
      delayMs: 100,
      maxDelayMs: 1_000,
      isTransient: () => true,
      signal,
    });
  }

  /** Resolves when the hub has read up to a sequence, is ready (0), has stopped, or the signal aborts. */
  async reached(seq: number, signal: AbortSignal): Promise<void> {
    while (!this.#stopped && !signal.aborted && (!this.ready || this.lastSeq < seq)) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#waiters.delete(wake);
          signal.removeEventListener("abort", wake);
          resolve();
        };
        this.#waiters.add(wake);
        signal.addEventListener("abort", wake, { once: true });
      });
    }
  }

  /** Adds a subscriber that has everything up to `lastSeq`. */
  join(subscriber: LiveSubscriber): void {
    // What waits to be written is older than lastSeq, and the newcomer has it already.
    this.flush();
    const key = laneKey(subscriber);
    let lane = this.#lanes.get(key);
    if (!lane) {
      lane = { wire: subscriber.wire, matches: subscriber.subscription.matches, subscribers: new Set(), pending: [] };
      this.#lanes.set(key, lane);
    }
    lane.subscribers.add(subscriber);
  }

  /** Removes a subscriber; one that is not there is fine. */
  leave(subscriber: LiveSubscriber): void {
    const key = laneKey(subscriber);
    const lane = this.#lanes.get(key);
    lane?.subscribers.delete(subscriber);
    if (lane?.subscribers.size === 0) this.#lanes.delete(key);
  }

  /** Writes what the events of this turn left. */
  flush(): void {
    this.#flushDue = false;
    this.#pendingBytes = 0;
    for (const lane of this.#lanes.values()) {
      if (lane.pending.length === 0) continue;
      const [single] = lane.pending;
      const chunk = lane.pending.length === 1 && single ? single : Buffer.concat(lane.pending);
      lane.pending = [];
      for (const subscriber of lane.subscribers) subscriber.deliver(chunk);
    }
  }

  #take(event: StoredEvent): void | Promise<void> {
    if (event.seq <= this.lastSeq) return;
    if (event.seq > this.lastSeq + 1) return this.#takeAfterHole(event);
    this.#append(event);
  }

  /** Sequences are missing: either they expired while we could not read, or they were messages that are no events. */
  async #takeAfterHole(event: StoredEvent): Promise<void> {
    const from = this.lastSeq + 1;
    const range = await this.range().catch(() => undefined);
    const firstSeq = range?.firstSeq ?? event.seq;
    if (firstSeq > from) {
      const to = Math.min(firstSeq, event.seq) - 1;
      this.flush();
      this.#ring.clear();
      this.#log.warn({ from, to }, "events expired before this gateway could read them");
      for (const lane of this.#lanes.values())
        for (const subscriber of lane.subscribers) subscriber.gap(from, to, EXPIRED);
    }
    this.#append(event);
  }

  #append(event: StoredEvent): void {
    const entry = new EventEntry(event);
    this.#ring.push(entry);
    this.lastSeq = entry.seq;
    if (entry.text === undefined) {
      this.malformed++;
      this.#log.debug({ seq: entry.seq, origin: entry.origin }, "a stored message is no event");
    } else this.#offer(entry);
    this.#progress();
  }

  #offer(entry: EventEntry): void {
    for (const lane of this.#lanes.values()) {
      if (!lane.matches(entry)) continue;
      const frame = entry.frame(lane.wire);
      lane.pending.push(frame);
      this.#pendingBytes = Math.max(this.#pendingBytes, 0) + frame.length;
      if (!this.#flushDue) {
        this.#flushDue = true;
        setImmediate(() => this.flush());
      }
    }
    if (this.#pendingBytes > CHUNK_BYTES) this.flush();
  }

  #progress(): void {
    if (!this.ready && this.lastSeq >= this.#target) this.#becomeReady();
    else if (!this.ready) this.#armSettle();
    if (this.#waiters.size > 0) for (const wake of [...this.#waiters]) wake();
  }

  #armSettle(): void {
    clearTimeout(this.#settle);
    // The last stored messages may be no events, and waiting for them would wait for ever. `lastSeq` stays where it is: a
    // subscriber that starts now may get some events that are a little older, never too few.
    if (!this.ready) this.#settle = setTimeout(() => this.#becomeReady(), SETTLE_MS).unref();
  }

  #becomeReady(): void {
    clearTimeout(this.#settle);
    this.ready = true;
    for (const wake of [...this.#waiters]) wake();
  }
}

function laneKey(subscriber: LiveSubscriber): string {
  return `${subscriber.wire} ${subscriber.subscription.key}`;
}
