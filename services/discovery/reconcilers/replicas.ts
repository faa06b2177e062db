// SPDX-License-Identifier: Apache-2.0
/**
 * What one server does about the replicas of all streams, under a lease. It checks that they are sound (`replica-check.ts`), and it
 * raises every stream and bucket to three replicas once three servers live (DESIGN.md 5). What is to be done is decided from the state of the streams, so an interrupted round is simply gone on with.
 */
import { clusterContract } from "@debvisor/proto-events/cluster";
import { laggingStreams, openAdmin, stirGroup } from "@debvisor/shared/bus/admin";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { raiseReplicas } from "@debvisor/shared/bus/placement";
import type { Clock } from "@debvisor/shared/clock";
import { causeChain } from "@debvisor/shared/errors";
import { holdLease } from "@debvisor/shared/leases";
import type { Logger } from "@debvisor/shared/log";
import { CHECK_PACE, type CheckPace, ReplicaChecker } from "./replica-check.ts";
import type { ReplicaControl } from "./replica-control.ts";
import { READING_PACE, type ReadingPace, readDaily } from "./replica-daily.ts";
import type { ReplicaStore } from "./replica-store.ts";

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
  /** Calls back after every change of what `joining` goes by. */
  readonly onJoining: (callback: () => void) => Closable;
  readonly cluster: string;
  readonly owner: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** What the checks need; without it replicas are raised only. */
  readonly checks?: { readonly control: ReplicaControl; readonly store: ReplicaStore } | undefined;
  /** Other times than `CHECK_PACE` and `READING_PACE`. */
  readonly pace?: Partial<CheckPace>;
  readonly readingPace?: Partial<ReadingPace>;
}

/** Starts looking; works only while it holds the lease. */
export function startReplicas(deps: ReplicaDeps): Closable {
  const rounds = new Set<Promise<void>>();
  const lease = holdLease(deps.bus, "stream-replicas", deps.owner, {
    log: deps.log,
    clock: deps.clock,
    onHeld: (signal) => {
      for (const job of [run(deps, signal), ...checks(deps, signal)]) {
        const round: Promise<void> = job.finally(() => rounds.delete(round));
        rounds.add(round);
      }
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

function checks({ checks: needs, ...deps }: ReplicaDeps, signal: AbortSignal): Promise<void>[] {
  if (!needs) return [];
  const checker = new ReplicaChecker({ ...deps, ...needs, pace: { ...CHECK_PACE, ...deps.pace } });
  return [
    checker.run(signal),
    readDaily({ ...deps, ...needs, pace: { ...READING_PACE, ...deps.readingPace } }, signal),
  ];
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
    await rest(deps, joiners, settled ? SETTLED_LOOK_MS : LOOK_MS, signal);
  }
}

/** Waits, and no longer than until a server joins. */
async function rest(deps: ReplicaDeps, joiners: Joiners, ms: number, signal: AbortSignal): Promise<void> {
  const joined = new AbortController();
  const wake = () => joiners.any() && joined.abort();
  const watch = deps.onJoining(wake);
  wake();
  await deps.clock.sleep(ms, AbortSignal.any([signal, joined.signal]));
  await watch.stop();
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
