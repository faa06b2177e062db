// SPDX-License-Identifier: Apache-2.0
/**
 * Raises every stream and bucket to three replicas once three servers live (DESIGN.md 5). One server does it, under a lease;
 * what is to be done is decided from the state of the streams, so an interrupted round is simply gone on with.
 */
import { clusterContract } from "@debvisor/proto-events/cluster";
import { laggingStreams, openAdmin, raiseReplicas, stirGroup } from "@debvisor/shared/bus/admin";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import type { Clock } from "@debvisor/shared/clock";
import { causeChain } from "@debvisor/shared/errors";
import { holdLease } from "@debvisor/shared/leases";
import type { Logger } from "@debvisor/shared/log";

const REPLICAS = 3;
const LOOK_MS = 1_000;
/** Once raised, a look at whether the replicas keep up is cheap but not free. */
const SETTLED_LOOK_MS = 30_000;
/** How often the group is stirred while a server joins, and for how long: after that it is not coming. */
const STIR_MS = 100;
const STIR_LIMIT_MS = 20_000;
/** Longest time for the replicas of one stream to become current. */
const PATIENCE_MS = 30_000;

export interface ReplicaDeps {
  readonly bus: Bus;
  readonly connectAdmin: () => Promise<ConnectedBus>;
  /** How many server nodes send heartbeats. */
  readonly liveServers: () => number;
  /** Ids of servers that have been let in and have not come up yet. */
  readonly joining: () => readonly string[];
  readonly cluster: string;
  readonly owner: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Starts looking; works only while it holds the lease. */
export function startReplicas(deps: ReplicaDeps): Closable {
  const rounds = new Set<Promise<void>>();
  const lease = holdLease(deps.bus, "stream-replicas", deps.owner, {
    log: deps.log,
    clock: deps.clock,
    onHeld: (signal) => {
      const round = run(deps, signal).finally(() => rounds.delete(round));
      rounds.add(round);
    },
    onLost: () => undefined,
  });
  return {
    stop: async () => {
      await lease.stop();
      await Promise.race([Promise.all(rounds), deps.clock.sleep(1_000)]);
    },
  };
}

async function run(deps: ReplicaDeps, signal: AbortSignal): Promise<void> {
  const joiners = new Joiners(deps);
  while (!signal.aborted) {
    let settled = false;
    try {
      await stirWhile(deps, joiners, signal);
      settled = deps.liveServers() >= REPLICAS && (await raise(deps));
    } catch (error) {
      deps.log.warn({ error: causeChain(error) }, "the replicas of the streams could not be raised yet");
    }
    const until = deps.clock.monotonic() + (settled ? SETTLED_LOOK_MS : LOOK_MS);
    while (!signal.aborted && deps.clock.monotonic() < until && !joiners.any()) await deps.clock.sleep(STIR_MS, signal);
  }
}

/** Servers that are joining, as long as there is hope for them. */
class Joiners {
  readonly #deps: ReplicaDeps;
  readonly #since = new Map<string, number>();

  constructor(deps: ReplicaDeps) {
    this.#deps = deps;
  }

  any(): boolean {
    const [joining, now] = [this.#deps.joining(), this.#deps.clock.monotonic()];
    for (const id of this.#since.keys()) if (!joining.includes(id)) this.#since.delete(id);
    for (const id of joining) if (!this.#since.has(id)) this.#since.set(id, now);
    return [...this.#since.values()].some((since) => now < since + STIR_LIMIT_MS);
  }
}

/** In turn with the raising of replicas, because both change streams as they find them. */
async function stirWhile(deps: ReplicaDeps, joiners: Joiners, signal: AbortSignal): Promise<void> {
  if (!joiners.any()) return;
  const admin = await deps.connectAdmin();
  try {
    const manager = await openAdmin(admin.connection);
    while (!signal.aborted && joiners.any()) {
      await stirGroup(manager);
      await deps.clock.sleep(STIR_MS, signal);
    }
  } finally {
    await admin.close();
  }
}

/** One round; true when nothing is left to do. */
async function raise(deps: ReplicaDeps): Promise<boolean> {
  const admin = await deps.connectAdmin();
  const startedAt = deps.clock.monotonic();
  try {
    const manager = await openAdmin(admin.connection);
    const { raised, servers } = await raiseReplicas(manager, REPLICAS, PATIENCE_MS);
    if (raised.length > 0) {
      const ms = Math.round(deps.clock.monotonic() - startedAt);
      deps.log.info({ raised, ms }, "streams raised to three replicas");
      const payload = { replicas: REPLICAS, servers, assets: raised, ms };
      await deps.bus.publishEvent(clusterContract, "replicas.raised", payload, { subject: deps.cluster });
    }
    const lagging = await laggingStreams(manager);
    if (lagging.length > 0) deps.log.warn({ lagging }, "replicas of streams are not current");
    return true;
  } finally {
    await admin.close();
  }
}
