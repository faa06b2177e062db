// SPDX-License-Identifier: Apache-2.0
/** Has every replica of every stream read in full once a day, and when somebody asks; one stream after the other. */
import { assetNames } from "@debvisor/shared/bus/admin";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { causeChain } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import { streamHabits } from "../model/replica-habits.ts";
import type { ReplicaControl } from "./replica-control.ts";
import { readReplicas } from "./replica-reading.ts";
import type { ReplicaRecords, ReplicaStore } from "./replica-store.ts";

export interface DailyDeps {
  readonly control: ReplicaControl;
  readonly store: ReplicaStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly pace: ReadingPace;
}

/** Times in milliseconds. */
export interface ReadingPace {
  /** A stream is read again so long after its last reading. */
  readonly dayMs: number;
  /** Between two looks at whether one is due; the first is after that time. */
  readonly lookMs: number;
  /** Before what differs is read again; longer where keys expire by each server's clock. */
  readonly confirmMs: number;
  readonly confirmTtlMs: number;
  /** Most messages and bytes a second, all replicas together. */
  readonly messagesPerSecond: number;
  readonly bytesPerSecond: number;
}

/** 2 GiB on three servers take 25 minutes at this rate. */
export const READING_PACE: ReadingPace = {
  dayMs: 86_400_000,
  lookMs: 15_000,
  confirmMs: 2_000,
  confirmTtlMs: 60_000,
  messagesPerSecond: 2_000,
  bytesPerSecond: 4 * 1024 * 1024,
};

/** Reads what is due until aborted. */
export async function readDaily(deps: DailyDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await deps.clock.sleep(deps.pace.lookMs, signal);
    if (signal.aborted) return;
    try {
      const { records } = deps.store;
      // A server that is being rebuilt comes and goes.
      if (!records.rebuild) await readDue(deps, records, signal);
    } catch (error) {
      if (!signal.aborted) deps.log.warn({ error: causeChain(error) }, "the replicas could not be read");
    }
  }
}

/** Reads every stream that is due. @throws BUS_UNAVAILABLE, NATS_SERVER_FAILED */
async function readDue(deps: DailyDeps, records: ReplicaRecords, signal: AbortSignal): Promise<void> {
  for (const stream of assetNames()) {
    const at = Date.parse(records.readings.get(stream)?.at ?? "");
    const isDue = Number.isNaN(at) || at < records.askedAt || deps.clock.now() - at > deps.pace.dayMs;
    if (isDue && !(await readStream(deps, stream, signal))) return;
  }
}

/** Reads one stream and stores what was found. False when that is not possible now. */
async function readStream(deps: DailyDeps, stream: string, signal: AbortSignal): Promise<boolean> {
  const { control, store, clock, log, pace } = deps;
  const startedAt = clock.monotonic();
  const replicas = (await control.look()).replicas.filter((one) => one.stream === stream);
  const wanted = new Set(replicas.flatMap((one) => one.peers));
  if (signal.aborted || replicas.length === 0 || replicas.length < wanted.size) return false;
  const { appendOnly, ttl } = streamHabits(stream);
  // What one has not yet got, or no longer, is for the counters to judge.
  const from = Math.max(...replicas.map(({ first }) => first));
  const to = Math.min(...replicas.map(({ last }) => last));
  const plan = {
    ...{ stream, from, to, appendOnly },
    servers: replicas.map(({ server }) => server),
    confirmMs: ttl ? pace.confirmTtlMs : pace.confirmMs,
    messagesPerSecond: pace.messagesPerSecond,
    bytesPerSecond: pace.bytesPerSecond,
  };
  const result = await readReplicas({ control, clock }, plan, signal);
  if (!result) return false;
  const ms = Math.round(clock.monotonic() - startedAt);
  const damaged = [...result.damaged];
  if (damaged.length > 0 || result.unclear > 0) log.error({ stream, ...result }, "reading found replicas that differ");
  await store.put({ kind: "reading", stream, at: timestamp(clock), from, to, ms, ...result, damaged });
  return true;
}
