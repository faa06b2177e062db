// SPDX-License-Identifier: Apache-2.0
/**
 * Whether the cluster takes writes. A server that has lost the others keeps its connections and goes on answering reads from
 * what it holds, so nothing but an acknowledged write shows that a majority is there. One small key per gateway, overwritten.
 */
import type { Bucket } from "@debvisor/shared/bus/bus";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import { z } from "zod";

/** What the probe writes. */
export const ProbeRecord = z.object({ probedAt: z.string() });

const EVERY_MS = 3_000;
/** The loss of a stream's leader stops writes for 4 to 7 s (DESIGN.md 5); only more than that is a fault. */
const PATIENCE_MS = 10_000;

export class WriteProbe {
  readonly #clock: Clock;
  readonly #othersReady: () => Promise<void>;
  readonly #key: string;
  readonly #stopping = new AbortController();
  #lastAckAt: number | undefined;
  #lastAck = "never";
  #running: Promise<void> = Promise.resolve();

  /** `othersReady` resolves when every other stream that the gateway writes to has a leader: each elects its own. */
  constructor(deps: { clock: Clock; node: string; othersReady: () => Promise<void> }) {
    this.#clock = deps.clock;
    this.#othersReady = deps.othersReady;
    this.#key = `probe.${deps.node}`;
  }

  /** Undefined while writes are acknowledged, otherwise since when they are not. */
  get fault(): string | undefined {
    const age = this.#clock.monotonic() - (this.#lastAckAt ?? Number.NEGATIVE_INFINITY);
    return age <= PATIENCE_MS ? undefined : `no write has been acknowledged since ${this.#lastAck}`;
  }

  /** Writes once, then goes on in the background until stopped. @throws BUS_UNAVAILABLE when the first write fails */
  async start(bucket: Bucket<z.output<typeof ProbeRecord>>): Promise<void> {
    await this.#write(bucket);
    this.#running = this.#run(bucket);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.race([this.#running, this.#clock.sleep(500)]);
  }

  async #run(bucket: Bucket<z.output<typeof ProbeRecord>>): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await this.#clock.sleep(EVERY_MS, this.#stopping.signal);
      // A write that failed is what `fault` reports, by its age.
      if (!this.#stopping.signal.aborted) await this.#write(bucket).catch(() => undefined);
    }
  }

  async #write(bucket: Bucket<z.output<typeof ProbeRecord>>): Promise<void> {
    const value = { probedAt: timestamp(this.#clock) };
    const known = await bucket.get(this.#key);
    try {
      await (known ? bucket.update(this.#key, value, known.revision) : bucket.create(this.#key, value));
    } catch (error) {
      // Either the write before this one came through after all, or it hangs at a leader that has lost the others and does not know yet.
      const isConflict = toDvError(error).code === "CONFLICT";
      if (!isConflict || (await bucket.get(this.#key))?.revision === known?.revision) throw error;
    }
    await this.#othersReady();
    this.#lastAckAt = this.#clock.monotonic();
    this.#lastAck = value.probedAt;
  }
}
