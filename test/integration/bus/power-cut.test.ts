// SPDX-License-Identifier: Apache-2.0
/**
 * Power cuts of one server and of all three. Each server's store is on an image, which is copied while the server is frozen, without
 * anything being synced; then it is killed and started from the copy. RULES.md F7: without `sync_interval: always` nearly everything
 * is lost when all of them are cut.
 */
import path from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type BusCluster, randomNodeId, startBusCluster } from "../../support/bus-cluster.ts";
import type { BusServer } from "../../support/bus-server.ts";
import { DiskImages, noDiskImages } from "../../support/disk-image.ts";
import { collectIds, EventPublisher } from "../../support/event-traffic.ts";

const LIMIT = { timeout: 120_000 };

test("a power cut of one server, then of all three, loses nothing that was acknowledged", LIMIT, async (context) => {
  const missing = noDiskImages();
  if (missing !== undefined) return context.skip(missing);
  const disks = new DiskImages();
  onTestFinished(() => disks.remove());
  await using cluster = await startBusCluster({
    servers: 3,
    prepare: (dir) => disks.add(path.join(dir, "jetstream")),
  });
  const writer = new EventPublisher(await cluster.connectNode(), randomNodeId(), 0);
  await writer.more(300);

  await cutPower([leaderOf(await counters(cluster), cluster)], disks);
  await writer.more(100);
  const afterOne = writer.acknowledged.length;
  expect(await settled(cluster, afterOne)).toHaveLength(3);

  await writer.more(300);
  const acknowledged = await cutPower(cluster.servers, disks, () => [...writer.acknowledged]);
  await writer.more(20);
  const published = await writer.stop();

  const replicas = await settled(cluster, published.length);
  const reader = await collectIds(await cluster.connectCore("gateway"), 1);
  await expect.poll(() => reader.ids.length, { timeout: 20_000 }).toBe(published.length);
  await reader.stop();
  await context.annotate(
    `acknowledged before the cut of all: ${acknowledged.length}, of these there: ` +
      `${acknowledged.filter((id) => reader.ids.includes(id)).length}; longest wait: ${Math.round(writer.longestMs)} ms`,
  );
  expect(acknowledged.filter((id) => !reader.ids.includes(id))).toEqual([]);
  expect(reader.ids).toEqual(published);
  expect(replicas.map(({ messages, deleted }) => [messages, deleted])).toEqual(
    [0, 1, 2].map(() => [published.length, 0]),
  );
});

/** Cuts the power of servers at one moment and gives it back. Returns what `atTheCut` says while all of them are frozen. */
async function cutPower<T>(servers: readonly BusServer[], disks: DiskImages, atTheCut?: () => T): Promise<T> {
  const pids = servers.flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
  expect(pids).toHaveLength(servers.length);
  for (const pid of pids) process.kill(pid, "SIGSTOP");
  // What a frozen server sent before may still be on its way to the client; it counts as acknowledged.
  await new Promise((resolve) => setTimeout(resolve, 50));
  const said = atTheCut?.() as T;
  for (const { store } of servers) disks.freeze(store);
  for (const server of servers) server.kill();
  await Promise.all(servers.map((server) => server.stop()));
  for (const { store } of servers) await disks.replace(store);
  await Promise.all(servers.map((server) => server.start()));
  return said;
}

/** Counters of the replicas of the events. */
async function counters(cluster: BusCluster) {
  const system = await cluster.connectSystem();
  try {
    return (await system.replicas()).replicas.filter(({ stream }) => stream === "DV_EVENTS");
  } finally {
    await system.close();
  }
}

/** The same once all three have at least so many messages. */
async function settled(cluster: BusCluster, messages: number): ReturnType<typeof counters> {
  const all = async () => (await counters(cluster)).filter(({ last }) => last >= messages);
  await expect.poll(async () => (await all()).length, { timeout: 30_000 }).toBe(3);
  return await all();
}

function leaderOf(replicas: Awaited<ReturnType<typeof counters>>, cluster: BusCluster): BusServer {
  const leader = cluster.servers.find(({ name }) => replicas.some((one) => one.server === name && one.leader === name));
  if (!leader) throw new Error("nobody leads the events");
  return leader;
}
