// SPDX-License-Identifier: Apache-2.0
/**
 * One subscriber of the event stream, from its starting point to the live tail. While it catches up it is paced by its own
 * reading: events come from the hub's ring, or from the stream where the ring no longer reaches. Once it has everything it
 * joins a lane of the hub, and from then on it must keep up or is cut; nothing is ever left out in silence.
 */
import type { ControlFrame } from "@debvisor/proto-events/replies";
import type { Bus, StoredEvent } from "@debvisor/shared/bus/bus";
import { systemClock } from "@debvisor/shared/clock";
import type { EventKey, Subscription } from "../model/event-query.ts";
import { controlFrame, EventEntry, telemetryFrame, type Wire } from "./entry.ts";
import { type EventHub, EXPIRED, type LiveSubscriber } from "./hub.ts";
import { findStart, type Start } from "./start-point.ts";

/** Why a stream ends from our side. */
export type EndReason = "slow" | "revoked" | "stopping" | "unavailable" | "flood";

/** The connection to a subscriber. */
export interface Sink {
  readonly wire: Wire;
  /** Bytes that the subscriber has not taken yet. */
  readonly queued: number;
  write(chunk: Buffer): void;
  /** Resolves when `queued` is likely to have fallen, or the connection is gone, or after `ms`. */
  drained(ms: number): Promise<void>;
  end(reason: EndReason): void;
}

export interface SubscriberDeps {
  readonly hub: EventHub;
  readonly bus: Bus;
  readonly sink: Sink;
  readonly subscription: Subscription;
  /** JSON of the nodes as they are now, for a snapshot. */
  readonly nodesJson: () => string;
  readonly queueBytes: number;
  /** Told that the subscriber was cut. */
  readonly onCut: () => void;
  /** Grants one of a few places for reading the stream. */
  readonly slot: <T>(work: () => Promise<T>) => Promise<T>;
}

/** Entries of the ring that are written between two looks at the queue. */
const RING_CHUNK = 256;
/** A subscriber that takes nothing for this long while it catches up is cut. */
const STALL_MS = 30_000;

export class Subscriber implements LiveSubscriber {
  readonly wire: Wire;
  readonly subscription: Subscription;
  readonly #deps: SubscriberDeps;
  readonly #abort = new AbortController();
  /** Everything up to this sequence has been sent or does not match. */
  #position = 0;

  constructor(deps: SubscriberDeps) {
    this.#deps = deps;
    this.wire = deps.sink.wire;
    this.subscription = deps.subscription;
  }

  /** Catches up and joins the live tail. Resolves when it has, or is closed. @throws BUS_UNAVAILABLE */
  async run(): Promise<void> {
    const { hub } = this.#deps;
    await hub.reached(0, this.#abort.signal);
    // Whoever leaves while it waits for a place must not start to read: nothing would end that, and the place were gone.
    const start = await this.#deps.slot(async () =>
      this.closed ? undefined : await findStart(this.#deps, this.#abort.signal),
    );
    if (start) await this.#begin(start);
    while (!this.closed) {
      if (this.#position > hub.lastSeq) await hub.reached(this.#position, this.#abort.signal);
      else if (this.#position === hub.lastSeq) return this.#join();
      else if ((hub.ring.first?.seq ?? Number.POSITIVE_INFINITY) <= this.#position + 1) await this.#replay();
      else await this.#deps.slot(() => this.#read());
    }
  }

  get closed(): boolean {
    return this.#abort.signal.aborted;
  }

  /** Forgets the subscriber; the connection is gone or about to go. */
  close(): void {
    this.#abort.abort();
    this.#deps.hub.leave(this);
  }

  /** Ends the connection from our side. */
  end(reason: EndReason): void {
    if (this.closed) return;
    this.close();
    this.#deps.sink.end(reason);
  }

  deliver(chunk: Buffer): void {
    // Looked at before the write: what one turn brings may be large, what an earlier one left must not be.
    if (this.#deps.sink.queued > this.#deps.queueBytes) this.#cut();
    else this.#deps.sink.write(chunk);
  }

  gap(from: number, to: number, reason: string): void {
    this.#control({ control: "gap", from, to, reason });
    const json = `{"control":"snapshot","seq":${to},"nodes":${this.#deps.nodesJson()}}`;
    this.#deps.sink.write(controlFrame(this.wire, json, to));
  }

  /** Relays telemetry, unless the subscriber is behind. Returns whether it was written. */
  relay(key: EventKey, json: string): boolean {
    if (this.closed || !this.subscription.matches(key)) return true;
    if (this.#deps.sink.queued > this.#deps.queueBytes / 4) return false;
    this.#deps.sink.write(telemetryFrame(this.wire, json));
    return true;
  }

  async #begin(start: Start): Promise<void> {
    if (start.gap) this.gap(start.gap.from, start.gap.to, start.gap.reason);
    this.#position = start.position;
    for (const entry of start.entries) await this.#send(entry);
    if (start.entries.length > 0) this.#position = start.upTo;
  }

  #join(): void {
    this.#control({ control: "caught-up", seq: this.#position }, this.#position);
    this.#deps.hub.join(this);
  }

  async #replay(): Promise<void> {
    for (const entry of this.#deps.hub.ring.after(this.#position, RING_CHUNK)) {
      this.#position = entry.seq;
      if (entry.text !== undefined && this.subscription.matches(entry)) this.#deps.sink.write(entry.frame(this.wire));
    }
    await this.#paced();
  }

  /** Reads the stream until the ring takes over. */
  async #read(): Promise<void> {
    if (this.closed) return;
    const { hub, bus } = this.#deps;
    const met = Promise.withResolvers<void>();
    const stop = () => met.resolve();
    this.#abort.signal.addEventListener("abort", stop, { once: true });
    const onEvent = async (event: StoredEvent) => {
      if (this.closed || event.seq <= this.#position) return;
      if (event.seq > this.#position + 1) await this.#explainHole(event.seq);
      await this.#send(new EventEntry(event));
      this.#position = event.seq;
      if (event.seq >= hub.lastSeq || event.seq + 1 >= (hub.ring.first?.seq ?? Number.POSITIVE_INFINITY)) met.resolve();
    };
    const reader = await bus.readEvents({ fromSeq: this.#position + 1, onEvent });
    await met.promise;
    this.#abort.signal.removeEventListener("abort", stop);
    await reader.stop();
  }

  async #explainHole(seq: number): Promise<void> {
    const from = this.#position + 1;
    const { firstSeq } = await this.#deps.hub.range(this.#abort.signal).catch(() => ({ firstSeq: seq }));
    if (firstSeq > from) this.gap(from, Math.min(firstSeq, seq) - 1, EXPIRED);
  }

  async #send(entry: EventEntry): Promise<void> {
    if (this.closed || entry.text === undefined || !this.subscription.matches(entry)) return;
    this.#deps.sink.write(entry.frame(this.wire));
    await this.#paced();
  }

  async #paced(): Promise<void> {
    const { sink, queueBytes } = this.#deps;
    const until = systemClock.monotonic() + STALL_MS;
    while (!this.closed && sink.queued > queueBytes / 4) {
      const leftMs = until - systemClock.monotonic();
      if (leftMs <= 0) return this.#cut();
      await sink.drained(leftMs);
    }
  }

  #cut(): void {
    if (this.closed) return;
    this.#deps.onCut();
    this.end("slow");
  }

  #control(frame: ControlFrame, seq?: number): void {
    this.#deps.sink.write(controlFrame(this.wire, JSON.stringify(frame), seq));
  }
}
