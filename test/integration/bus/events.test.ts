// SPDX-License-Identifier: Apache-2.0
/** Events: acknowledged means stored, one id is stored once, a reader gets each once and in order, over kill -9 of servers. */
import { nodeAgentContract } from "@debvisor/proto-events/node-agent";
import { eventSubject, SUBJECT_FILTERS } from "@debvisor/proto-events/subjects";
import { createEnvelope, publishEnvelope } from "@debvisor/shared/bus/events";
import { expect, test } from "vitest";
import { type BusCluster, randomNodeId, startBusCluster } from "../../support/bus-cluster.ts";
import { collectIds, EventPublisher } from "../../support/event-traffic.ts";

const SOAK = process.env["DV_SOAK"] === "1";
const LIMIT = { timeout: SOAK ? 50 * 60_000 : 60_000 };
const id = randomNodeId();
const payload = { node: id, name: "node", version: "1", bootId: "b", pid: 1 };

test("an envelope published twice is stored once, with the same sequence both times", async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  const node = await cluster.connectNode(id);
  const gateway = await cluster.connectCore("gateway");
  const envelope = createEnvelope(nodeAgentContract, "agent.started", payload, id, { subject: id });

  const first = await publishEnvelope(node.connection, envelope, { subject: id }, cluster.log);
  const second = await publishEnvelope(node.connection, envelope, { subject: id }, cluster.log);

  expect(second).toBe(first);
  expect(await gateway.eventRange()).toEqual({ firstSeq: first, lastSeq: first });
});

test("an event reader hears the events of nodes and of core parts, which it cannot answer", async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  const reader = await cluster.connectBare(await cluster.issuer.forEventReader("dashboard"));
  const heard: string[] = [];
  reader.subscribe(SUBJECT_FILTERS.allEvents, {
    callback: (error, message) => {
      heard.push(error ? String(error) : message.subject);
      message.respond("answer");
    },
  });
  await reader.flush();
  const published = [];
  for (const bus of [await cluster.connectNode(id), await cluster.connectCore("node-agent")])
    published.push(await bus.publishEvent(nodeAgentContract, "agent.started", payload, { subject: id }));

  await expect
    .poll(() => heard)
    .toEqual([eventSubject(id, "node-agent.agent.started"), eventSubject("core", "node-agent.agent.started")]);
  // What acknowledged the events was the stream.
  expect(published.every(({ seq }) => seq > 0)).toBe(true);
});

test("a reader starts at a sequence, at a time or with what comes next", async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  const node = await cluster.connectNode(id);
  const gateway = await cluster.connectCore("gateway");
  const publish = async () =>
    (await node.publishEvent(nodeAgentContract, "agent.started", payload, { subject: id })).envelope.id;
  expect(await gateway.eventRange()).toEqual({ firstSeq: 1, lastSeq: 0 });
  const early = [await publish(), await publish(), await publish()];
  const startedAt = Date.now() + 1;
  await expect.poll(() => Date.now()).toBeGreaterThan(startedAt);

  const next = await collectIds(gateway);
  const second = await collectIds(gateway, 2);
  const late = [await publish(), await publish()];
  const timed: number[] = [];
  const byTime = await gateway.readEvents({ fromTimeMs: startedAt, onEvent: ({ seq }) => void timed.push(seq) });

  await expect.poll(() => next.ids).toEqual(late);
  await expect.poll(() => second.ids).toEqual([...early.slice(1), ...late]);
  await expect.poll(() => timed).toEqual([4, 5]);
  await Promise.all([next.stop(), second.stop(), byTime.stop()]);
});

test(
  "a lone server that is killed comes back by itself, and no event is lost or doubled",
  LIMIT,
  async ({ annotate }) => {
    await using cluster = await startBusCluster({ servers: 1 });

    const longest = await publishOverKills(cluster, SOAK ? 50 : 3, () => 0);

    await annotate(`longest wait for an acknowledgement: ${Math.round(longest)} ms`);
    expect(longest).toBeLessThan(15_000);
  },
);

test(
  "no event is lost or doubled when the server that leads the stream of three is killed",
  LIMIT,
  async ({ annotate }) => {
    await using cluster = await startBusCluster({ servers: 3 });
    const { manager } = await cluster.admin();

    const longest = await publishOverKills(cluster, SOAK ? 50 : 2, async () => {
      const { cluster: group } = await manager.streams.info("DV_EVENTS");
      return cluster.servers.findIndex(({ name }) => name === group?.leader);
    });

    await annotate(`longest wait for an acknowledgement: ${Math.round(longest)} ms`);
    // Losing the leader takes 4 to 7 s (DESIGN.md 5); the rest is for a busy machine.
    expect(longest).toBeLessThan(20_000);
  },
);

/** Publishes and reads on while servers are killed; returns the longest time that an event took. */
async function publishOverKills(
  cluster: BusCluster,
  kills: number,
  choose: () => number | Promise<number>,
): Promise<number> {
  const publisher = new EventPublisher(await cluster.connectNode(id), id);
  const gateway = await cluster.connectCore("gateway");
  const fromStart = await collectIds(gateway, 1);
  const fromNow = await collectIds(gateway);
  for (let kill = 0; kill < kills; kill++) {
    await publisher.more(20);
    const server = cluster.server(await choose());
    const { pid } = server;
    server.kill();
    await server.recovered(pid);
  }
  await publisher.more(20);
  const published = await publisher.stop();

  await expect.poll(() => fromStart.ids.length, { timeout: 15_000 }).toBeGreaterThanOrEqual(published.length);
  await expect.poll(() => fromNow.ids.at(-1), { timeout: 15_000 }).toBe(published.at(-1));
  expect(fromStart.ids).toEqual(published);
  // The second reader began somewhere; from there on it has everything.
  expect(fromNow.ids).toEqual(published.slice(published.length - fromNow.ids.length));
  expect(fromNow.ids.length).toBeGreaterThan(kills * 20);
  await Promise.all([fromStart.stop(), fromNow.stop()]);
  return publisher.longestMs;
}
