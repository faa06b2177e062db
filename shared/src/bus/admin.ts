// SPDX-License-Identifier: Apache-2.0
/**
 * Creates the streams and buckets of `proto-events/streams.ts`, and looks at them and their replicas (placement.ts puts those on
 * servers). Only the stream administrator's credential may do this. What is here can be repeated at any time.
 */
import { BUCKETS, type BucketSpec, STREAMS, type StreamSpec } from "@debvisor/proto-events/streams";
import {
  DiscardPolicy,
  JetStreamApiError,
  type JetStreamManager,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamInfo,
} from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { systemClock } from "../clock.ts";
import { DvError } from "../errors.ts";
import { bucketStream } from "./permissions.ts";
import { busError } from "./wire.ts";

const NS_PER_MS = 1_000_000;
const STREAM_NOT_FOUND = 10_059;
/** How long the marker of an expired key stays, so that watchers which were away see it go. */
const MARKER_TTL_MS = 60_000;

/** Names of all streams, those behind buckets included. */
export function assetNames(): string[] {
  return [...Object.keys(STREAMS), ...Object.keys(BUCKETS).map(bucketStream)];
}

/** Opens the administration API. @throws BUS_UNAVAILABLE */
export function openAdmin(connection: NatsConnection): Promise<JetStreamManager> {
  return jetstreamManager(connection, { checkAPI: false, timeout: 3_000 });
}

/** A server that has just become healthy may leave the first requests unanswered. */
const CREATE_PATIENCE_MS = 15_000;

/**
 * Creates what is missing, with one replica, trying again for 15 s. Existing ones keep their data and replicas.
 * @throws BUS_UNAVAILABLE
 */
export async function ensureStreams(manager: JetStreamManager): Promise<{ created: string[] }> {
  const deadline = systemClock.monotonic() + CREATE_PATIENCE_MS;
  const created = new Set<string>();
  for (;;) {
    try {
      await createMissing(manager, created);
      return { created: [...created] };
    } catch (error) {
      if (systemClock.monotonic() > deadline) throw error;
      await systemClock.sleep(100);
    }
  }
}

async function createMissing(manager: JetStreamManager, created: Set<string>): Promise<void> {
  const wanted = [
    ...Object.entries(STREAMS).map(([name, spec]) => streamConfig(name, spec)),
    ...Object.entries(BUCKETS).map(([name, spec]) => bucketConfig(name, spec)),
  ];
  await Promise.all(
    wanted.map(async (config) => {
      if (await ensure(manager, config)) created.add(config.name);
    }),
  );
}

/** What `stirGroup` changes: nobody reads it. */
const STIRRED_KEY = "debvisor-stirred";

/**
 * Has the group of servers decide something that changes nothing, so that its leader sends word to every server, one that has just
 * connected included. Measured with nats-server 2.15.1: left alone, the leader hears of such a server after 1.9 s and the server
 * counts itself healthy after 3.9 s; stirred each 100 ms, after 0.5 and 0.6 s. Must not run beside whatever else changes streams.
 * @throws BUS_UNAVAILABLE
 */
export async function stirGroup(manager: JetStreamManager): Promise<void> {
  const name = assetNames().at(-1) ?? "";
  try {
    const { config } = await manager.streams.info(name);
    const metadata = { ...config.metadata, [STIRRED_KEY]: String(systemClock.now()) };
    await manager.streams.update(name, { ...config, metadata });
  } catch (error) {
    throw busError(error, `changing the stream ${name}`);
  }
}

/**
 * Lowers every stream to one replica, one at a time, after each has chosen a leader: only a leader has applied what the others
 * acknowledged and this server had only in its log; lowered before that, it would be forgotten. Can be repeated at any time.
 * @throws BUS_UNAVAILABLE naming the streams that have no leader after `patienceMs`
 */
export async function lowerReplicas(manager: JetStreamManager, patienceMs: number): Promise<{ lowered: string[] }> {
  const deadline = systemClock.monotonic() + patienceMs;
  const lowered: string[] = [];
  for (;;) {
    const infos = await Promise.all(assetNames().map((name) => infoOf(manager, name)));
    const unled = assetNames().filter((_name, index) => !infos[index]?.cluster?.leader);
    if (unled.length === 0) break;
    if (systemClock.monotonic() > deadline)
      throw new DvError("BUS_UNAVAILABLE", `Streams without a leader after ${patienceMs} ms: ${unled.join(", ")}.`);
    await systemClock.sleep(100);
  }
  const lowerUntil = systemClock.monotonic() + patienceMs;
  for (const name of assetNames()) {
    if (await lower(manager, name, lowerUntil)) lowered.push(name);
    await waitForReplicas(manager, name, 1, patienceMs);
  }
  return { lowered };
}

/** True when the stream had several replicas. A server that has just become leader may leave requests unanswered. @throws BUS_UNAVAILABLE */
async function lower(manager: JetStreamManager, name: string, deadline: number): Promise<boolean> {
  for (let isLowered = false; ; ) {
    try {
      const { config } = await manager.streams.info(name);
      if (config.num_replicas <= 1) return isLowered;
      isLowered = true;
      await manager.streams.update(name, { ...config, num_replicas: 1 });
      return true;
    } catch (error) {
      if (systemClock.monotonic() > deadline)
        throw new DvError("BUS_UNAVAILABLE", `The stream ${name} could not be lowered in time.`, { cause: error });
      await systemClock.sleep(100);
    }
  }
}

/** A stream without a leader may leave the question unanswered. */
async function infoOf(manager: JetStreamManager, name: string): Promise<StreamInfo | undefined> {
  return await manager.streams.info(name).catch(() => undefined);
}

/** Names of the servers that hold a stream. */
export function serversOf({ cluster }: StreamInfo): string[] {
  return [cluster?.leader, ...(cluster?.replicas ?? []).map(({ name }) => name)].filter((name) => name !== undefined);
}

/** Streams that have fewer current replicas than configured; one on the server `except` is not missed. */
export async function laggingStreams(manager: JetStreamManager, except?: string): Promise<string[]> {
  const infos = await Promise.all(assetNames().map((name) => manager.streams.info(name)));
  const wanted = (info: StreamInfo) => info.config.num_replicas - (except && serversOf(info).includes(except) ? 1 : 0);
  return infos.filter((info) => !hasCurrentReplicas(info, wanted(info), except)).map((info) => info.config.name);
}

/** Streams of which a server holds a replica. @throws BUS_UNAVAILABLE */
export async function streamsOn(manager: JetStreamManager, server: string): Promise<string[]> {
  const infos = await Promise.all(assetNames().map((name) => manager.streams.info(name)));
  return infos.filter((info) => serversOf(info).includes(server)).map((info) => info.config.name);
}

/** Asks once for another server to lead a stream. Answered late or never while leadership moves: look at the stream instead. */
export async function stepDownStream(connection: NatsConnection, stream: string, preferred: string): Promise<void> {
  const subject = `$JS.API.STREAM.LEADER.STEPDOWN.${stream}`;
  const body = JSON.stringify({ placement: { preferred } });
  await connection.request(subject, body, { timeout: 1_000 }).catch(() => undefined);
}

async function ensure(manager: JetStreamManager, config: Partial<StreamConfig> & { name: string }): Promise<boolean> {
  try {
    await manager.streams.info(config.name);
    return false;
  } catch (error) {
    if (!(error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND))
      throw busError(error, `the stream ${config.name}`);
  }
  try {
    await manager.streams.add(config);
    return true;
  } catch (error) {
    throw busError(error, `creating the stream ${config.name}`);
  }
}

/** Whether a stream has a leader and that many current replicas, besides one on the server `except`. */
export function hasCurrentReplicas(info: StreamInfo, replicas: number, except?: string): boolean {
  const followers = (info.cluster?.replicas ?? []).filter(({ name }) => name !== except);
  return (
    Boolean(info.cluster?.leader) &&
    info.config.num_replicas >= replicas &&
    followers.filter((peer) => peer.current && !peer.offline).length >= replicas - 1
  );
}

/** Waits until a stream has that many current replicas. @throws BUS_UNAVAILABLE */
export async function waitForReplicas(
  manager: JetStreamManager,
  name: string,
  replicas: number,
  patienceMs: number,
): Promise<StreamInfo> {
  const deadline = systemClock.monotonic() + patienceMs;
  while (systemClock.monotonic() < deadline) {
    const info = await manager.streams.info(name).catch(() => undefined);
    if (info && hasCurrentReplicas(info, replicas)) return info;
    await systemClock.sleep(100);
  }
  throw new DvError("BUS_UNAVAILABLE", `The replicas of ${name} did not become current in ${patienceMs} ms.`);
}

function streamConfig(name: string, spec: StreamSpec): Partial<StreamConfig> & { name: string } {
  return {
    name,
    subjects: [...spec.subjects],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: spec.discard === "new" ? DiscardPolicy.New : DiscardPolicy.Old,
    max_age: spec.maxAgeMs * NS_PER_MS,
    max_bytes: spec.maxBytes,
    max_msg_size: spec.maxMessageBytes,
    duplicate_window: spec.duplicateWindowMs * NS_PER_MS,
    num_replicas: 1,
    deny_delete: true,
    deny_purge: true,
    allow_rollup_hdrs: false,
    allow_direct: true,
  };
}

/** Buckets refuse rollup headers: with them one writer of one key could wipe the bucket (RULES.md F4, F13). */
function bucketConfig(bucket: string, spec: BucketSpec): Partial<StreamConfig> & { name: string } {
  return {
    name: bucketStream(bucket),
    subjects: [`$KV.${bucket}.>`],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: DiscardPolicy.New,
    max_msgs_per_subject: spec.history,
    max_bytes: spec.maxBytes,
    max_age: spec.maxAgeMs * NS_PER_MS,
    num_replicas: 1,
    deny_delete: true,
    deny_purge: true,
    allow_rollup_hdrs: false,
    // A direct read may come from a replica that lags, and a compare-and-set that rests on it would fail again and again.
    allow_direct: false,
    ...(spec.ttl ? { allow_msg_ttl: true, subject_delete_marker_ttl: MARKER_TTL_MS * NS_PER_MS } : {}),
  };
}
