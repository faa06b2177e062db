// SPDX-License-Identifier: Apache-2.0
/**
 * Which instances of engines live: each holds a lease of its own name (bucket dv_leases). An owner without lease is gone, and
 * its operations are adopted; should it still run, the guard of the log stops it at its next append.
 */
import { randomBytes } from "node:crypto";
import type { Bus, Closable } from "../bus/bus.ts";
import type { Clock } from "../clock.ts";
import { holdLease, type Lease, LeaseRecord } from "../leases.ts";
import type { Logger } from "../log.ts";

/** Seconds after which a dead instance is known to be dead. */
const LEASE_SECONDS = 6;
/** The bucket's own picture of an instance that has just started may lag behind its first operation. */
const SURE_MS = 1_500;

export interface OwnersDeps {
  readonly bus: Pick<Bus, "bucket">;
  readonly clock: Clock;
  readonly log: Logger;
  /** Service and node, such as `node-agent-<node id>`. */
  readonly name: string;
}

/** What an engine asks about itself and the others. */
export interface OwnersView extends Closable {
  /** Name of this run of this instance: another run of it is another owner. */
  readonly self: string;
  /** Undefined when it can tell, otherwise what it waits for. */
  readonly waitsFor: string | undefined;
  start(): Promise<void>;
  /** True when an owner is certainly gone. */
  isGone(owner: string): boolean;
}

/** The own lease, and a watch over those of others. */
export class Owners implements OwnersView {
  readonly self: string;
  readonly #deps: OwnersDeps;
  readonly #live = new Set<string>();
  readonly #missing = new Map<string, number>();
  #lease: Lease | undefined;
  #watch: Closable | undefined;
  #ready = false;

  constructor(deps: OwnersDeps) {
    this.#deps = deps;
    this.self = `engine-${deps.name}-${randomBytes(4).toString("hex")}`;
  }

  get waitsFor(): string | undefined {
    if (!this.#ready) return "the leases of the other engines";
    return this.#lease?.held ? undefined : "its own lease";
  }

  async start(): Promise<void> {
    const { bus, log, clock } = this.#deps;
    const none = () => undefined;
    this.#lease = holdLease(bus, this.self, this.#deps.name, {
      ttlSeconds: LEASE_SECONDS,
      onHeld: none,
      onLost: none,
      log,
      clock,
    });
    const leases = await bus.bucket("dv_leases", LeaseRecord);
    this.#watch = await leases.watch(
      ({ key, entry }) => {
        if (entry) this.#live.add(key);
        else this.#live.delete(key);
      },
      () => {
        this.#ready = true;
      },
    );
  }

  /** True when an owner is certainly gone: not seen alive for a moment that no lag explains. */
  isGone(owner: string): boolean {
    if (owner === this.self || this.#live.has(owner)) {
      this.#missing.delete(owner);
      return false;
    }
    const now = this.#deps.clock.monotonic();
    const since = this.#missing.get(owner) ?? now;
    this.#missing.set(owner, since);
    return now - since >= SURE_MS;
  }

  async stop(): Promise<void> {
    await Promise.all([this.#lease?.stop(), this.#watch?.stop()]);
  }
}
