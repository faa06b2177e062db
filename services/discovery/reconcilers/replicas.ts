// SPDX-License-Identifier: Apache-2.0
/**
 * What one server does about the replicas of all streams, under a lease. It checks that they are sound (`replica-check.ts`), and it
 * raises every stream and bucket to three replicas once three servers live (DESIGN.md 5). What is to be done is decided from the state of the streams, so an interrupted round is simply gone on with.
 */
import { clusterContract } from "@debvisor/proto-events/cluster";
import { laggingStreams, openAdmin, raiseReplicas } from "@debvisor/shared/bus/admin";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
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
/** Longest time for the replicas of one stream to become current. */
const PATIENCE_MS = 30_000;

export interface ReplicaDeps {
  readonly bus: Bus;
  readonly connectAdmin: () => Promise<ConnectedBus>;
  /** How many server nodes send heartbeats. */
  readonly liveServers: () => number;
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
  while (!signal.aborted) {
    let settled = false;
    try {
      settled = deps.liveServers() >= REPLICAS && (await raise(deps));
    } catch (error) {
      deps.log.warn({ error: causeChain(error) }, "the replicas of the streams could not be raised yet");
    }
    await deps.clock.sleep(settled ? SETTLED_LOOK_MS : LOOK_MS, signal);
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
