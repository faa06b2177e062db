// SPDX-License-Identifier: Apache-2.0
/** The event stream's other half: who may open how many streams, what ends them, where they begin, and live telemetry. */
import type { Socket } from "node:net";
import { gatewayContract } from "@debvisor/proto-events/gateway";
import { nodeAgentContract } from "@debvisor/proto-events/node-agent";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import WebSocket from "ws";
import { hashSecret, newKey, TokenRecord } from "../../../services/gateway/auth/token-record.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { ask, metrics, type Rig, settled, startPeers, startRig, type TestNode, until } from "./rig.ts";
import { Client, readSse, sseSeqs } from "./stream-client.ts";

const cluster = sharedBusCluster({ servers: 1 });
const PANEL = "https://panel.example";
let rig: Rig;
let nodes: readonly TestNode[];

beforeAll(async () => {
  ({ nodes } = await startPeers(cluster(), ["node-1", "node-2"]));
  rig = await startRig(cluster(), {
    allowedOrigins: [PANEL],
    events: { bufferEntries: 16, perPrincipal: 0, pingMs: 50, reauthoriseMs: 50, messagesPerMinute: 20 },
  });
});
afterAll(() => rig?.[Symbol.asyncDispose]());

async function publish(count = 1, name: "call.denied" | "caller.limited" = "call.denied"): Promise<number> {
  const payload = { principal: "p", source: "s", operation: "o", permission: "p", rateClass: "read", limit: 1 };
  let seq = 0;
  for (let i = 0; i < count; i++)
    ({ seq } = await rig.bus.publishEvent(gatewayContract, name, payload as never, { subject: "test" }));
  return seq;
}

async function publishFrom(node: TestNode | undefined): Promise<number> {
  if (!node) throw new Error("there is no such node");
  const payload = { node: node.id, name: node.name, bootId: "b" };
  return (await node.bus.publishEvent(nodeAgentContract, "agent.stopped", payload, { subject: node.id })).seq;
}

const live = async (client: Client) => {
  await until(() => client.has("caught-up"), "the live tail");
  return client;
};
const closed = (client: Client) =>
  until(
    () => client.closed !== undefined,
    "the close",
    () => JSON.stringify(client.frames.slice(-2)),
  );

describe("a subscriber is closed", () => {
  it("when it answers no ping; one that answers stays", async () => {
    const good = await live(new Client(rig, ""));
    const dead = await live(new Client(rig, "", undefined, {}, { autoPong: false }));
    await closed(dead);

    expect([dead.closed, good.closed]).toEqual([1006, undefined]);
    good.socket.close();
  });

  it.each([
    ["messages", (client: Client) => client.socket.send("hello"), 1008],
    ["pings", (client: Client) => client.socket.ping(), 1008],
    ["a message that is too large", (client: Client) => client.socket.send("x".repeat(70_000)), 1009],
  ])("when it sends too many or too much: %s", async (_title, send, code) => {
    const client = await live(new Client(rig, ""));
    for (let i = 0; i < 25; i++) send(client);
    await closed(client);

    expect(client.closed).toBe(code);
  });

  it("when its key expires, over WebSocket and over SSE", async () => {
    const { id, key, hash } = newKey();
    const expiresAt = new Date(Date.now() + 1_200).toISOString();
    const token = { name: "short", role: "viewer", scopes: [], createdBy: "system", lastUsedAt: null, revokedAt: null };
    const bucket = await rig.bus.bucket("dv_tokens", TokenRecord);
    await bucket.create(id, TokenRecord.parse({ ...token, id, hash, expiresAt, createdAt: new Date().toISOString() }));
    const bearer = `Bearer ${key}`;
    await until(async () => (await ask(rig, "/v1/errors", { key: bearer })).status === 200, "the key to be known");
    const client = await live(new Client(rig, "", bearer));
    const sse = await readSse(rig, "", {
      headers: { authorization: bearer },
      enough: (text) => text.includes("event: closed"),
    });
    await closed(client);

    expect(client.closed).toBe(4401);
    expect(sse).toContain("the key is no longer valid");
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(expiresAt));
    expect((await ask(rig, "/v1/errors", { key: bearer })).status).toBe(401);
    expect(hashSecret(key)).not.toBe(hash);
  });

  it("with 1001 when the gateway stops", async () => {
    const other = await rig.another();
    const client = await live(new Client(other, ""));
    await other[Symbol.asyncDispose]();
    await closed(client);

    expect(client.closed).toBe(1001);
  });
});

describe("a page", () => {
  it.each([
    [PANEL, undefined],
    [undefined, undefined],
    ["https://panel.example.evil", 403],
    ["http://panel.example", 403],
    [`${PANEL}:444`, 403],
    ["null", 403],
  ])("of origin %s is answered with status %s", async (origin, status) => {
    const headers: Record<string, string> = origin === undefined ? {} : { origin };
    const client = new Client(rig, "", undefined, headers);
    await until(() => client.decided, "the decision");
    const sse = await fetch(`${rig.url}/v1/events`, {
      headers: { ...headers, authorization: rig.keys.viewer.bearer, accept: "text/event-stream" },
    });
    await sse.body?.cancel();

    expect([client.refused, sse.status]).toEqual([status, status ?? 200]);
    client.socket.close();
  });
});

describe("a caller", () => {
  it("has as many streams as it may, however many it asks for at once; others are not touched", async () => {
    await using few = await rig.another({ events: { perPrincipal: 3 } });
    const clients = Array.from({ length: 12 }, () => new Client(few, ""));
    await until(() => clients.every(({ decided }) => decided), "all to be decided");
    const over = await ask(few, "/v1/events", {
      key: few.keys.viewer.bearer,
      headers: { accept: "text/event-stream" },
    });
    const other = await live(new Client(few, "", few.keys.admin.bearer));

    expect(clients.filter(({ refused }) => refused === undefined)).toHaveLength(3);
    expect(clients.map(({ refused }) => refused ?? 429)).toEqual(Array(12).fill(429));
    expect([over.status, (over.body as { code: string }).code]).toEqual([429, "RATE_LIMITED"]);
    expect(Number(over.headers.get("retry-after"))).toBeGreaterThan(0);

    clients.find(({ refused }) => refused === undefined)?.socket.close();
    await until(async () => {
      const next = new Client(few, "");
      await until(() => next.decided, "the decision");
      return next.refused === undefined;
    }, "the place to be free again");
    for (const { socket } of [...clients, other]) socket.close();
  });
});

describe("a stream begins", () => {
  it.each([
    ["after Last-Event-ID, whatever the address says", (last: number) => [`?since=${last - 9}`, last - 2] as const, 2],
    ["after Last-Event-ID, behind the buffer", (last: number) => ["", last - 40] as const, 40],
  ])("%s", async (_title, of, count) => {
    const last = await publish(45);
    await settled(rig);
    const [query, id] = of(last);
    const headers = { "last-event-id": String(id) };
    const client = await live(new Client(rig, query, undefined, headers));
    const wanted = Array.from({ length: count }, (_, i) => last - count + 1 + i);

    expect(sseSeqs(await readSse(rig, query, { headers }))).toEqual(wanted);
    expect(client.seqs).toEqual(wanted);
    client.socket.close();
  });

  it.each([
    ["in the buffer", 5],
    ["behind the buffer", 30],
  ])("at a time or within a duration: %s", async (_title, count) => {
    const before = await publish();
    const atMs = Date.now() + 3;
    await until(() => Date.now() > atMs + 1_500, "the earlier event to be old");
    const last = await publish(count);
    await settled(rig);
    const offset = new Date(atMs + 3_600_000).toISOString().replace("Z", "+01:00");
    const queries = [`since=${new Date(atMs).toISOString()}`, `since=${encodeURIComponent(offset)}`, "since=1500ms"];
    const seqs = await Promise.all(queries.map(async (query) => sseSeqs(await readSse(rig, `?${query}`))));

    const wanted = Array.from({ length: count }, (_, i) => before + 1 + i);
    expect(last).toBe(before + count);
    expect(seqs).toEqual([wanted, wanted, wanted]);
  });

  it("with the last few that match, wherever they are", async () => {
    const [one, two] = [await publish(1, "caller.limited"), await publish(1, "caller.limited")];
    await publish(40);
    await settled(rig);
    const of = async (query: string) => sseSeqs(await readSse(rig, query));

    expect(await of("?tail=1&filter=gateway.caller.*")).toEqual([two]);
    expect(await of("?tail=2&filter=gateway.caller.limited")).toEqual([one, two]);
    expect((await of("?tail=10000")).length).toBe((await rig.bus.eventRange()).lastSeq);
    expect(await of("?tail=0")).toEqual([]);
  });

  it("with what any of its patterns and any of its nodes match", async () => {
    const start = await publish();
    const [first, second] = [await publishFrom(nodes[0]), await publishFrom(nodes[1])];
    const [denied, limited] = [await publish(), await publish(1, "caller.limited")];
    await settled(rig);
    const of = async (query: string) => sseSeqs(await readSse(rig, `?since=${start}&${query}`));

    expect(await of("filter=node-agent.agent.*,gateway.caller.>")).toEqual([first, second, limited]);
    expect(await of(`filter=node-agent.>,*.call.denied&node=node-2,core`)).toEqual([second, denied]);
    expect(await of(`node=${nodes[0]?.id}`)).toEqual([first]);
    expect(await of("filter=*.*.*&node=node-1, node-2")).toEqual([first, second]);
  });

  it("without standing still although its queue is small and the past is long", async () => {
    await using small = await rig.another({ events: { bufferEntries: 16, queueBytes: 4_096 } });
    const last = await publish(60);
    await settled(small);
    const from = performance.now();
    const text = await readSse(small, "?since=0");

    expect(sseSeqs(text).at(-1)).toBe(last);
    expect(performance.now() - from).toBeLessThan(10_000);
  });
});

describe("telemetry", () => {
  const send = (node: TestNode | undefined, disks = 0) => {
    const disk = { name: "x".repeat(200), readBytesPerSecond: 1, writtenBytesPerSecond: 1, busyPercent: 1 };
    node?.bus.publishTelemetry(nodeAgentContract, "metrics", { ...metrics, disks: Array(disks).fill(disk) });
  };

  it("is relayed live to who asked for it, by type and node, and never replayed", async () => {
    const wanting = await live(new Client(rig, "?telemetry=1&filter=node-agent.metrics&node=node-1"));
    const all = await live(new Client(rig, "?telemetry=true"));
    const plain = await live(new Client(rig, ""));
    await until(() => {
      send(nodes[0]);
      send(nodes[1]);
      return new Set(all.telemetry.map(({ source }) => source)).size === 2 && wanting.telemetry.length > 0;
    }, "telemetry of both nodes");
    const late = await live(new Client(rig, "?telemetry=1&since=0&node=node-2&filter=node-agent.heartbeat"));
    const end = await publish();
    await until(() => plain.seqs.includes(end), "the next event");

    expect(new Set(wanting.telemetry.map(({ source }) => source))).toEqual(new Set([nodes[0]?.id]));
    expect(wanting.telemetry[0]).toMatchObject({ telemetry: "node-agent.metrics", data: metrics });
    expect(wanting.telemetry[0]?.seq).toBeUndefined();
    expect([plain.telemetry, late.telemetry]).toEqual([[], []]);
    for (const { socket } of [wanting, all, plain, late]) socket.close();
  });

  it("is dropped for a reader that is behind, who keeps its stream and loses no event", async () => {
    await using slowRig = await rig.another();
    const slow = await live(new Client(slowRig, "?telemetry=1"));
    (slow.socket as unknown as { _socket: Socket })._socket.pause();
    const dropped = async () => /^debvisor_telemetry_dropped [1-9]/m.test((await ask(slowRig, "/metrics")).text);
    for (let i = 0; i < 100 && !(await dropped()); i++) for (let j = 0; j < 10; j++) send(nodes[0], 300);
    const last = await publish(3);
    (slow.socket as unknown as { _socket: Socket })._socket.resume();
    await until(() => slow.seqs.includes(last), "the events");

    expect(await dropped()).toBe(true);
    expect(slow.seqs.slice(-3)).toEqual([last - 2, last - 1, last]);
    expect(slow.socket.readyState).toBe(WebSocket.OPEN);
    slow.socket.close();
  });
});
