// SPDX-License-Identifier: Apache-2.0
/**
 * Replicas that a bad disk harmed, on three real servers: found, thrown away and filled by their peers, while somebody writes. What
 * the servers' own counters show is found by looking, a flipped bit by reading (RULES.md F8).
 */
import { assetNames } from "@debvisor/shared/bus/admin";
import { timestamp } from "@debvisor/shared/clock";
import { afterAll, beforeAll, expect, test } from "vitest";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";
import type { BusServer } from "../../support/bus-server.ts";
import { collectIds, EventPublisher } from "../../support/event-traffic.ts";
import { flipped, harm, ReplicaBench, type ReplicaEvent, truncated } from "../../support/replica-bench.ts";

const STREAM = "DV_EVENTS";
const LIMIT = { timeout: 90_000 };
const PATIENCE = { timeout: 45_000, interval: 200 };

const cluster = sharedBusCluster({ servers: 3 });
let bench: ReplicaBench;
let writer: EventPublisher;

beforeAll(async () => {
  bench = await ReplicaBench.start(cluster());
  writer = new EventPublisher(await cluster().connectNode(), randomNodeId(), 5);
  await writer.more(400);
}, 60_000);

afterAll(async () => {
  await writer.stop().catch(() => undefined);
  await bench.stop();
});

/** Counters of every replica of the stream, by server. */
async function counters(): Promise<Map<string, { messages: number; deleted: number; leader: string | undefined }>> {
  const { replicas } = await bench.control.look();
  return new Map(replicas.filter(({ stream }) => stream === STREAM).map((one) => [one.server, one]));
}

/** One that was not harmed before: a replica is not rebuilt twice within an hour. */
async function aFollower(harmed?: string): Promise<BusServer> {
  const replicas = await counters();
  const follower = cluster().servers.find(({ name }) => name !== harmed && replicas.get(name)?.leader !== name);
  if (!follower) throw new Error("there is no follower");
  return follower;
}

/**
 * Alarms about the stream that is harmed. It is looked every second here, not every minute, so a server that a test starts again may
 * be told of as unhealthy, or as behind with another stream, on a busy machine.
 */
function alarms() {
  const isOfStream = ({ data }: ReplicaEvent) => data["stream"] === STREAM || [data["streams"]].flat().includes(STREAM);
  return bench.events.filter(isOfStream);
}

function alarmsOf(type: string) {
  return alarms().flatMap((event) => (event.type === type ? [event.data] : []));
}

async function readEverything(): Promise<void> {
  const askedAt = new Date();
  await bench.store.put({ kind: "asked", at: timestamp(), actor: "test" });
  const read = () => [...bench.store.records.readings.values()].filter(({ at }) => new Date(at) > askedAt);
  await expect.poll(() => read().length, PATIENCE).toBe(assetNames().length);
}

test(
  "sound replicas raise no alarm while somebody writes, neither by looking nor by reading",
  LIMIT,
  async ({ annotate }) => {
    writer.longestMs = 0;

    await readEverything();

    const { readings } = bench.store.records;
    await annotate(`longest wait for an acknowledgement while all was read: ${Math.round(writer.longestMs)} ms`);
    expect(readings.get(STREAM)?.messages).toBeGreaterThanOrEqual(400);
    expect([...readings.values()].filter(({ damaged, unclear }) => damaged.length > 0 || unclear > 0)).toEqual([]);
    expect(bench.events).toEqual([]);
  },
);

test(
  "a replica that lost messages is found by its server's counters and filled by its peers",
  LIMIT,
  async ({ annotate }) => {
    const server = await aFollower();
    writer.longestMs = 0;

    await harm(server, STREAM, truncated);
    const harmedAt = performance.now();
    await expect.poll(() => alarmsOf("replica.failed").length, PATIENCE).toBe(1);
    const foundMs = Math.round(performance.now() - harmedAt);
    await expect.poll(() => alarmsOf("replica.rebuilt").length, PATIENCE).toBe(1);

    const gap = Math.round(writer.longestMs);
    await annotate(`found ${foundMs} ms after the server's start; longest wait for an acknowledgement: ${gap} ms`);
    expect(alarmsOf("replica.failed")).toMatchObject([
      { stream: STREAM, server: server.name, verdict: "holes", rebuild: null },
    ]);
    expect(alarmsOf("replica.rebuilt")).toMatchObject([{ server: server.name, streams: [STREAM] }]);
    expect((await counters()).get(server.name)).toMatchObject({ deleted: 0 });
    expect(gap).toBeLessThan(10_000);
  },
);

test("a flipped bit is found by reading, and the replica is filled by its peers", LIMIT, async ({ annotate }) => {
  const server = await aFollower(String(alarmsOf("replica.failed")[0]?.["server"]));
  const before = alarms().length;
  await harm(server, STREAM, flipped('"agent.started"'.slice(1, 8)));
  expect((await counters()).get(server.name)).toMatchObject({ deleted: 0 });
  writer.longestMs = 0;

  await readEverything();
  await expect.poll(() => alarms().length, PATIENCE).toBe(before + 2);

  await annotate(`longest wait for an acknowledgement: ${Math.round(writer.longestMs)} ms`);
  expect(alarms().slice(before)).toMatchObject([
    { type: "replica.failed", data: { stream: STREAM, server: server.name, verdict: "damaged", rebuild: null } },
    { type: "replica.rebuilt", data: { server: server.name, streams: [STREAM] } },
  ]);
});

test("afterwards every replica has every acknowledged message, and no other alarm was raised", LIMIT, async () => {
  const published = await writer.stop();
  await bench.store.put({ kind: "asked", at: timestamp(), actor: "test" });
  const askedAt = Date.now();
  const reading = () => bench.store.records.readings.get(STREAM);
  await expect.poll(() => Date.parse(reading()?.at ?? "") > askedAt, PATIENCE).toBe(true);

  const stored = await collectIds(await cluster().connectCore("gateway"), 1);
  await expect.poll(() => published.filter((id) => !stored.ids.includes(id)).length, { timeout: 20_000 }).toBe(0);
  await stored.stop();

  expect(reading()?.messages).toBeGreaterThanOrEqual(published.length);
  expect(reading()).toMatchObject({ damaged: [], unclear: 0 });
  expect(alarms().map(({ type }) => type)).toEqual(Array(2).fill(["replica.failed", "replica.rebuilt"]).flat());
  await expect.poll(() => bench.store.records.bad, PATIENCE).toEqual([]);
});
