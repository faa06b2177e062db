// SPDX-License-Identifier: Apache-2.0
/** Growing from one server to three under load, and what is left when all servers are killed (DESIGN.md 5). */
import { contract, operation } from "@debvisor/proto-events/kit";
import { assetNames, ensureStreams, laggingStreams, stirGroup } from "@debvisor/shared/bus/admin";
import { raiseReplicas } from "@debvisor/shared/bus/placement";
import type { JetStreamManager, StreamInfo } from "@nats-io/jetstream";
import { expect, test, vi } from "vitest";
import { z } from "zod";
import { type BusCluster, randomNodeId, startBusCluster } from "../../support/bus-cluster.ts";
import { collectIds, EventPublisher } from "../../support/event-traffic.ts";

const Value = z.object({ at: z.number() });
const LIMIT = { timeout: 120_000 };

async function replicas(manager: JetStreamManager): Promise<number[]> {
  const infos = await Promise.all(assetNames().map((name) => manager.streams.info(name)));
  return infos.map(({ config }) => config.num_replicas);
}

/** Ids of all stored events; checks that there are as many as `expected` has. */
async function storedIds(cluster: BusCluster, expected: number): Promise<string[]> {
  const gateway = await cluster.connectCore("gateway");
  const reader = await collectIds(gateway, 1);
  await expect.poll(() => reader.ids.length, { timeout: 20_000 }).toBe(expected);
  await reader.stop();
  return reader.ids;
}

test(
  "one server grows to three while events are written, then all three are killed: nothing acknowledged is lost",
  LIMIT,
  async ({ annotate }) => {
    await using cluster = await startBusCluster({ servers: 1 });
    const { manager } = await cluster.admin();
    const publisher = new EventPublisher(await cluster.connectNode(), randomNodeId(), 20);
    const bucket = await (await cluster.connectCore("gateway")).bucket("dv_tokens", Value);
    await bucket.create("before", { at: 1 });
    await publisher.more(10);

    await cluster.grow(3, { raise: false });
    const { raised } = await raiseReplicas(manager, 3, 30_000);
    await publisher.more(10);
    const grownMs = Math.round(publisher.longestMs);

    expect(raised.sort()).toEqual(assetNames().sort());
    expect(new Set(await replicas(manager))).toEqual(new Set([3]));
    // While somebody writes, a replica is behind now and then.
    await expect.poll(() => laggingStreams(manager)).toEqual([]);
    expect(await raiseReplicas(manager, 3, 30_000)).toMatchObject({ raised: [] });

    await killAll(cluster);
    await publisher.more(10);
    const published = await publisher.stop();
    await annotate(
      `longest wait for an acknowledgement: ${grownMs} ms while growing, ${Math.round(publisher.longestMs)} ms in all`,
    );

    expect(await storedIds(cluster, published.length)).toEqual(published);

    // Some streams may still be without a leader.
    expect(await vi.waitFor(() => bucket.get("before"), { timeout: 20_000 })).toMatchObject({ value: { at: 1 } });
    expect(await vi.waitFor(() => ensureStreams(manager), { timeout: 20_000 })).toEqual({ created: [] });
  },
);

test(
  "a group that is stirred takes a server in sooner, and its streams stay as they are",
  LIMIT,
  async ({ annotate }) => {
    const alone = await timeToGrow(async () => undefined);
    let stirred = 0;
    const inCompany = await timeToGrow(async (manager) => {
      const configs = async () => (await Promise.all(assetNames().map((name) => manager.streams.info(name)))).map(same);
      const before = await configs();
      await stirGroup(manager);
      expect(await configs()).toEqual(before);
      stirred++;
    });

    expect(stirred).toBeGreaterThan(1);
    expect(inCompany).toBeLessThan(alone);
    await annotate(`a second server is healthy after ${alone} ms, after ${inCompany} ms when the group is stirred`);
  },
);

/** Milliseconds until a second server is healthy and counted, while something is done again and again. */
async function timeToGrow(meanwhile: (manager: JetStreamManager) => Promise<void>): Promise<number> {
  await using cluster = await startBusCluster({ servers: 1 });
  const { manager } = await cluster.admin();
  const startedAt = performance.now();
  let ms = 0;
  const grown = cluster.join().then(() => {
    ms = Math.round(performance.now() - startedAt);
  });
  while (ms === 0) {
    await meanwhile(manager);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await grown;
  return ms;
}

/** All of a stream's configuration that means something. */
function same({ config }: StreamInfo): unknown {
  return { ...config, metadata: undefined };
}

const slow = contract({
  service: "slow",
  summary: "Answers for tests.",
  operations: {
    wait: operation({
      summary: "Answers when the test says so.",
      scope: "node",
      effect: "read",
      idempotent: true,
      timeoutMs: 30_000,
      permission: "slow:text:wait",
      input: z.strictObject({}),
      output: z.object({ text: z.string() }),
      errors: [],
      http: null,
      cli: null,
    }),
  },
  events: {},
});

test("a request that was asked before two servers join is answered after it", LIMIT, async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  const gateway = await cluster.connectCore("gateway");
  const id = randomNodeId();
  const asked = Promise.withResolvers<void>();
  const grown = Promise.withResolvers<{ text: string }>();
  const wait = () => {
    asked.resolve();
    return grown.promise;
  };
  await (await cluster.connectNode(id)).serve<typeof slow, "node">(slow, "node", { wait });

  const answer = gateway.request(id, slow, "wait", {});
  await asked.promise;
  await cluster.grow(3, { raise: false });
  grown.resolve({ text: "here" });

  expect(await answer).toEqual({ text: "here" });
});

test(
  "one of three servers that is stopped and comes back catches up, and the two others go on meanwhile",
  LIMIT,
  async () => {
    await using cluster = await startBusCluster({ servers: 3 });
    const { manager } = await cluster.admin();
    const publisher = new EventPublisher(await cluster.connectNode(), randomNodeId());

    await cluster.server(2).stop();
    await publisher.more(50);
    expect(await laggingStreams(manager)).toEqual(expect.arrayContaining(assetNames()));
    await cluster.server(2).start();
    await publisher.more(10);
    const published = await publisher.stop();

    await expect.poll(() => laggingStreams(manager).catch(() => ["unknown"]), { timeout: 30_000 }).toEqual([]);
    expect(await storedIds(cluster, published.length)).toEqual(published);
  },
);

/** kill -9 of every server at once; resolves when all are healthy again. */
async function killAll(cluster: BusCluster): Promise<void> {
  const before = cluster.servers.map((server) => ({ server, pid: server.pid }));
  for (const { server } of before) server.kill();
  await Promise.all(before.map(({ server, pid }) => server.recovered(pid)));
}
