// SPDX-License-Identifier: Apache-2.0
/** Puts the replicas of streams on servers. Only the stream administrator's credential may do this. */
import { JetStreamApiError, type JetStreamManager, type StreamInfo } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { systemClock } from "../clock.ts";
import { DvError } from "../errors.ts";
import { assetNames, hasCurrentReplicas, openAdmin, serversOf, streamsOn, waitForReplicas } from "./admin.ts";

/**
 * Raises every stream to `replicas`, one at a time, and checks each before the next (RULES.md 19). Can be repeated at any time.
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
    const { isRaised, info } = await raiseStream(manager, name, replicas, patienceMs);
    if (isRaised) raised.push(name);
    for (const server of serversOf(info)) servers.add(server);
  }
  return { raised, servers: [...servers].sort() };
}

/**
 * Raises one stream to `replicas` unless it has them, and waits until they are current: from one to three that takes a heartbeat
 * of the stream's group, 0.9 s (measured with nats-server 2.15.1).
 * @throws BUS_UNAVAILABLE when it does not become current within `patienceMs`
 */
export async function raiseStream(
  manager: JetStreamManager,
  name: string,
  replicas: number,
  patienceMs: number,
): Promise<{ isRaised: boolean; info: StreamInfo }> {
  const info = await manager.streams.info(name);
  // A stream that lost a server of three keeps the number in its configuration; the update gives it another one.
  const isShort = Boolean(info.cluster?.leader) && serversOf(info).length < replicas;
  const isRaised = info.config.num_replicas < replicas || isShort;
  if (isRaised) await updateOncePlaced(manager, name, { ...info.config, num_replicas: replicas }, patienceMs);
  if (hasCurrentReplicas(info, replicas)) return { isRaised, info };
  return { isRaised, info: await waitForReplicas(manager, name, replicas, patienceMs) };
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
