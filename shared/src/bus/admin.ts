// SPDX-License-Identifier: Apache-2.0
/**
 * Creates the streams and buckets of `proto-events/streams.ts` and raises their replicas once there are enough servers. Only
 * the stream administrator's credential may do this. Both functions can be repeated at any time.
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

/**
 * Raises every stream to `replicas`, one at a time, and checks each before the next (RULES.md 19).
 * @throws BUS_UNAVAILABLE when one does not become current within `patienceMs`
 */
export async function raiseReplicas(
  manager: JetStreamManager,
  replicas: number,
  patienceMs: number,
): Promise<{ raised: string[]; servers: string[] }> {
  const raised: string[] = [];
  const servers = new Set<string>();
  for (const name of assetNames()) {
    let info = await manager.streams.info(name);
    // A stream that lost a server of three keeps the number in its configuration; the update gives it another one.
    const isShort = Boolean(info.cluster?.leader) && serversOf(info).length < replicas;
    if (info.config.num_replicas < replicas || isShort) {
      await updateOncePlaced(manager, name, { ...info.config, num_replicas: replicas }, patienceMs);
      raised.push(name);
    }
    if (!hasCurrentReplicas(info, replicas)) info = await waitForReplicas(manager, name, replicas, patienceMs);
    for (const server of serversOf(info)) servers.add(server);
  }
  return { raised, servers: [...servers].sort() };
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

/** Code of the API for "no suitable peers for placement". */
const NO_SUITABLE_PEERS = 10_005;

/** A server that has just joined may count as offline for a moment. @throws JetStreamApiError when it stays so */
async function updateOncePlaced(
  manager: JetStreamManager,
  name: string,
  config: StreamInfo["config"],
  patienceMs: number,
): Promise<void> {
  const deadline = systemClock.monotonic() + patienceMs;
  for (;;) {
    try {
      await manager.streams.update(name, config);
      return;
    } catch (error) {
      const isPassing = error instanceof JetStreamApiError && error.code === NO_SUITABLE_PEERS;
      if (!isPassing || systemClock.monotonic() > deadline) throw error;
      await systemClock.sleep(100);
    }
  }
}

/** Names of the servers that hold a stream. */
function serversOf({ cluster }: StreamInfo): string[] {
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

/**
 * Moves the replicas of a server to others, one stream at a time, and waits until each is current before the next (RULES.md 19).
 * There has to be a server that does not hold the stream yet. Can be repeated at any time.
 * @throws BUS_UNAVAILABLE when a stream does not become current within `patienceMs`
 */
export async function moveReplicas(
  connection: NatsConnection,
  server: string,
  patienceMs: number,
): Promise<{ moved: string[] }> {
  const manager = await openAdmin(connection);
  const moved = await streamsOn(manager, server);
  for (const name of moved) {
    const subject = `$JS.API.STREAM.PEER.REMOVE.${name}`;
    // Answered late or never while leadership moves: what is looked at is the stream.
    await connection.request(subject, JSON.stringify({ peer: server }), { timeout: 3_000 }).catch(() => undefined);
    const { num_replicas: replicas } = (await manager.streams.info(name)).config;
    const info = await waitForReplicas(manager, name, replicas, patienceMs);
    if (serversOf(info).includes(server))
      throw new DvError("BUS_UNAVAILABLE", `The server ${server} still holds a replica of ${name}.`);
  }
  return { moved };
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

function hasCurrentReplicas(info: StreamInfo, replicas: number, except?: string): boolean {
  const followers = (info.cluster?.replicas ?? []).filter(({ name }) => name !== except);
  return (
    Boolean(info.cluster?.leader) &&
    info.config.num_replicas >= replicas &&
    followers.filter((peer) => peer.current && !peer.offline).length >= replicas - 1
  );
}

async function waitForReplicas(
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
