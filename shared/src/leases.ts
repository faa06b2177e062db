// SPDX-License-Identifier: Apache-2.0
/**
 * Leases of single-writer jobs (DESIGN.md 2), the only mechanism of its kind in the project: a key of bucket dv_leases,
 * created with a time to live and renewed by compare-and-set. The holder counts its own time from before each write was
 * sent, the server from after, so the holder has given up before anyone else can begin. A paused process can still wake up
 * late: what a holder writes is guarded by compare-and-set too, and it asks `held` before it writes.
 */
import { randomBytes } from "node:crypto";
import { z } from "zod";
import type { Bucket, Bus } from "./bus/bus.ts";
import { type Clock, systemClock, timestamp } from "./clock.ts";
import { toDvError } from "./errors.ts";
import type { Logger } from "./log.ts";

/** What a lease's key holds. `token` tells two runs of one owner apart; `count` counts renewals. */
export const LeaseRecord = z.object({
  owner: z.string(),
  token: z.string(),
  since: z.string(),
  count: z.number().int().nonnegative(),
});
export type LeaseRecord = z.output<typeof LeaseRecord>;

/** Options of `holdLease`. */
export interface LeaseOptions {
  /** Seconds after which a dead holder's lease is free, 2 to 3600. Default 10. */
  readonly ttlSeconds?: number;
  /** Called when the lease is gained; the signal aborts when it is lost. Must not throw. */
  readonly onHeld: (signal: AbortSignal) => void;
  /** Called once for each `onHeld`, before anyone else can hold the lease. Must not throw. */
  readonly onLost: () => void;
  readonly log: Logger;
  readonly clock?: Clock;
}

/** A wish to hold a lease, as long as it is not stopped. */
export interface Lease {
  /** True while the lease is ours for certain. Ask it right before a write. */
  readonly held: boolean;
  /** Gives the lease back and stops trying. Resolves within 2 s. */
  stop(): Promise<void>;
}

/** What a lease needs of the bus. */
export type LeaseBus = Pick<Bus, "bucket">;

const STOP_MS = 2_000;

/** Tries to hold the lease of `job` from now on, and again after each loss. `owner` is for people: who holds it. */
export function holdLease(bus: LeaseBus, job: string, owner: string, options: LeaseOptions): Lease {
  const runner = new LeaseRunner(bus, job, owner, options);
  runner.start();
  return runner;
}

class LeaseRunner implements Lease {
  readonly #bus: LeaseBus;
  readonly #job: string;
  readonly #owner: string;
  readonly #options: LeaseOptions;
  readonly #clock: Clock;
  readonly #ttlMs: number;
  readonly #token = randomBytes(8).toString("hex");
  readonly #stop = new AbortController();
  #bucket: Bucket<LeaseRecord> | undefined;
  #since = "";
  #count = 0;
  #revision = 0;
  /** Monotonic time until which the lease is ours. */
  #deadline = Number.NEGATIVE_INFINITY;
  #holding: AbortController | undefined;
  #run: Promise<void> = Promise.resolve();

  constructor(bus: LeaseBus, job: string, owner: string, options: LeaseOptions) {
    this.#bus = bus;
    this.#job = job;
    this.#owner = owner;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#ttlMs = (options.ttlSeconds ?? 10) * 1000;
  }

  get held(): boolean {
    return this.#holding !== undefined && this.#clock.monotonic() < this.#deadline;
  }

  start(): void {
    this.#run = this.#loop();
  }

  async stop(): Promise<void> {
    if (this.#stop.signal.aborted) return this.#run;
    const mine = this.held;
    this.#stop.abort();
    this.#lose();
    await Promise.race([this.#run.then(() => (mine ? this.#release() : undefined)), this.#clock.sleep(STOP_MS)]);
  }

  async #loop(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      let pause = this.#retryMs();
      try {
        await (this.#holding ? this.#renew() : this.#gain());
        pause = this.#holding ? this.#ttlMs / 3 : this.#retryMs();
      } catch (error) {
        const { code, message } = toDvError(error);
        this.#options.log.warn({ job: this.#job, code, error: message }, "lease: no answer from the bucket");
      }
      await this.#clock.sleep(pause, signal);
    }
  }

  /** A tenth of the time to live, with a spread so that waiters do not race. */
  #retryMs(): number {
    return (this.#ttlMs / 10) * (0.75 + Math.random() / 2);
  }

  async #gain(): Promise<void> {
    this.#bucket ??= await this.#bus.bucket("dv_leases", LeaseRecord);
    const current = await this.#bucket.get(this.#job);
    if (this.#stop.signal.aborted) return;
    // An entry with our token is a write of ours whose answer was lost. When it was stored is unknown: let it expire.
    if (current) return;
    this.#since = timestamp(this.#clock);
    this.#count = 0;
    const sentAt = this.#clock.monotonic();
    const revision = await ignoreConflict(this.#bucket.create(this.#job, this.#record(), this.#ttl()));
    if (revision === undefined) return;
    this.#revision = revision;
    this.#extend(sentAt);
  }

  async #renew(): Promise<void> {
    const bucket = this.#bucket;
    if (!bucket) return;
    this.#count += 1;
    const sentAt = this.#clock.monotonic();
    const revision = await ignoreConflict(bucket.update(this.#job, this.#record(), this.#revision, this.#ttl()));
    if (revision !== undefined) {
      this.#revision = revision;
      this.#extend(sentAt);
      return;
    }
    const current = await bucket.get(this.#job);
    if (current?.value.token !== this.#token) {
      this.#lose();
      return;
    }
    // A renewal whose answer was lost was stored all the same. When is unknown, so the deadline stays: renew again at once.
    if (current.revision === this.#revision || this.#stop.signal.aborted) return;
    this.#revision = current.revision;
    await this.#renew();
  }

  #record(): LeaseRecord {
    return { owner: this.#owner, token: this.#token, since: this.#since, count: this.#count };
  }

  #ttl(): { ttlSeconds: number } {
    return { ttlSeconds: this.#ttlMs / 1000 };
  }

  /** Notes that the lease is ours until `sentAt` plus the time to live, less a tenth for drifting clocks. */
  #extend(sentAt: number): void {
    const deadline = sentAt + this.#ttlMs * 0.9;
    if (this.#stop.signal.aborted || this.#clock.monotonic() >= deadline) return;
    this.#deadline = deadline;
    if (this.#holding) return;
    this.#holding = new AbortController();
    this.#options.log.info({ job: this.#job }, "lease: held");
    void this.#watch(this.#holding);
    this.#options.onHeld(this.#holding.signal);
  }

  /** Gives up at the deadline, whatever a renewal in flight may be waiting for. */
  async #watch(holding: AbortController): Promise<void> {
    while (this.#holding === holding) {
      const left = this.#deadline - this.#clock.monotonic();
      if (left <= 0) this.#lose();
      else await this.#clock.sleep(left, holding.signal);
    }
  }

  #lose(): void {
    const holding = this.#holding;
    if (!holding) return;
    this.#holding = undefined;
    this.#deadline = Number.NEGATIVE_INFINITY;
    this.#options.log.info({ job: this.#job }, "lease: given up");
    holding.abort();
    this.#options.onLost();
  }

  async #release(): Promise<void> {
    try {
      await this.#bucket?.delete(this.#job, this.#revision);
    } catch (error) {
      // Somebody holds it already, or the bus is away; then it expires.
      this.#options.log.debug({ job: this.#job, code: toDvError(error).code }, "lease: not given back");
    }
  }
}

async function ignoreConflict(write: Promise<number>): Promise<number | undefined> {
  try {
    return await write;
  } catch (error) {
    if (toDvError(error).code === "CONFLICT") return undefined;
    throw error;
  }
}
