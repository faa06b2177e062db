// SPDX-License-Identifier: Apache-2.0
/** The event stream over a real bus: order, resumption over restarts of gateway and broker, gaps, slow readers, revocation. */
import { connect, type Socket } from "node:net";
import { gatewayContract } from "@debvisor/proto-events/gateway";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { ask, keyed, type Rig, settled, startPeers, startRig, until } from "./rig.ts";
import { Client, type Frame, readSse } from "./stream-client.ts";

const cluster = sharedBusCluster({ servers: 1 });
let rig: Rig;

beforeAll(async () => {
  await startPeers(cluster(), ["node-1"]);
  rig = await startRig(cluster(), { events: { bufferEntries: 16, perPrincipal: 0 } });
});
afterAll(() => rig?.[Symbol.asyncDispose]());

let published = 0;
async function publish(count: number, size = 10): Promise<number> {
  let seq = 0;
  for (let i = 0; i < count; i++) {
    published++;
    ({ seq } = await rig.bus.publishEvent(
      gatewayContract,
      "call.denied",
      { principal: `p${published}`, source: "x".repeat(size), operation: "o", permission: "p" },
      { subject: "test" },
    ));
  }
  return seq;
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe("a WebSocket", () => {
  it("gets what comes after it opened, each event once and in order", async () => {
    const client = new Client(rig, "");
    await until(() => client.has("caught-up"), "the live tail");
    const start = client.frames[0]?.seq ?? 0;
    const last = await publish(50);
    await until(() => client.seqs.includes(last), "the last event");

    expect(client.seqs).toEqual(range(start + 1, last));
    client.socket.close();
  });

  it("reads on after a sequence from the ring and from the stream behind it", async () => {
    const last = await publish(40);
    await settled(rig);
    const near = new Client(rig, `?since=${last - 5}`);
    const far = new Client(rig, "?since=0");
    await until(() => near.has("caught-up") && far.has("caught-up"), "both to catch up");

    expect(near.seqs).toEqual(range(last - 4, last));
    expect(far.seqs).toEqual(range(1, last));
    expect(far.has("gap")).toBe(false);
    near.socket.close();
    far.socket.close();
  });

  it("begins with the last few, a time or a duration", async () => {
    const before = new Date().toISOString();
    await new Promise((resolve) => setTimeout(resolve, 5));
    const last = await publish(20);
    await settled(rig);
    const clients = [
      "?tail=18",
      "?tail=3&filter=gateway.call.denied",
      `?since=${before}`,
      "?since=1h",
      "?since=2100-01-01T00:00:00Z",
    ].map((query) => new Client(rig, query));
    await until(
      () => clients.every((client) => client.has("caught-up")),
      "all to catch up",
      () => JSON.stringify(clients.map(({ frames }) => frames.length)),
    );

    expect(clients.map(({ seqs }) => [seqs[0], seqs.at(-1)])).toEqual([
      [last - 17, last],
      [last - 2, last],
      [last - 19, last],
      [1, last],
      [undefined, undefined],
    ]);
    for (const { socket } of clients) socket.close();
  });

  it("gets only what its filter and node say", async () => {
    const fits = new Client(rig, "?filter=*.call.*&node=core");
    const not = new Client(rig, "?filter=discovery.>&node=node-1");
    await until(() => fits.has("caught-up") && not.has("caught-up"), "both to be live");
    const last = await publish(3);
    await until(() => fits.seqs.includes(last), "the events");

    expect(fits.seqs).toHaveLength(3);
    expect(not.seqs).toEqual([]);
    fits.socket.close();
    not.socket.close();
  });

  it.each([
    ["?filter=a..b", 400],
    ["?node=nobody", 400],
    ["?since=yesterday", 400],
    ["?since=1&tail=1", 400],
    ["?what=1", 400],
  ])("is refused before the upgrade for %s", async (query, status) => {
    const answered = await new Promise<number>((resolve) => {
      const { socket } = new Client(rig, query);
      socket.on("unexpected-response", (_request, response) => resolve(response.resume().statusCode ?? 0));
    });

    expect(answered).toBe(status);
    expect(
      (await ask(rig, `/v1/events${query}`, { headers: { accept: "text/event-stream" } })).headers.get("content-type"),
    ).toContain("problem+json");
  });

  it.each([
    ["without a key", "", {}, 401],
    ["from a page that is not allowed", undefined, { origin: "https://evil.example" }, 403],
  ])("is refused %s", async (_title, key, headers, status) => {
    const answered = await new Promise<number>((resolve) => {
      const { socket } = new Client(rig, "", key, headers);
      socket.on("unexpected-response", (_request, response) => resolve(response.resume().statusCode ?? 0));
    });
    expect(answered).toBe(status);
  });

  it("learns what expired, gets a snapshot, and goes on", async () => {
    const { manager, bus } = await cluster().admin();
    const last = await publish(5);
    await settled(rig);
    const info = await manager.streams.info("DV_EVENTS");
    await manager.streams.update("DV_EVENTS", { ...info.config, max_msgs: 3 });
    const client = new Client(rig, "?since=1");
    const fresh = await rig.another({ events: { bufferEntries: 16 } });
    const other = new Client(fresh, "?since=1");
    await until(() => client.has("caught-up") && other.has("caught-up"), "both to catch up");
    await manager.streams.update("DV_EVENTS", { ...info.config, max_msgs: -1 });
    await bus.close();

    expect(other.frames.slice(0, 2)).toMatchObject([
      { control: "gap", from: 2, to: last - 3 },
      { control: "snapshot", seq: last - 3 },
    ]);
    expect(other.seqs).toEqual(range(last - 2, last));
    expect(client.has("gap")).toBe(true);
    client.socket.close();
    await fresh[Symbol.asyncDispose]();
  });

  it("of a sequence that the stream never had is told so", async () => {
    const client = new Client(rig, "?since=999999");
    await until(() => client.has("caught-up"), "the live tail");
    const last = await publish(1);
    await until(() => client.seqs.includes(last), "the next event");

    expect(client.frames.map(({ control }) => control)).toEqual(["gap", "snapshot", "caught-up", undefined]);
    client.socket.close();
  });

  it("is closed with 4401 when its key is revoked", async () => {
    const made = await ask(rig, "/v1/tokens", { method: "POST", headers: keyed(), body: '{"name":"short"}' });
    const { token, secret } = made.body as { token: { id: string }; secret: string };
    const client = new Client(rig, "", `Bearer ${secret}`);
    await until(() => client.has("caught-up"), "the live tail");
    await ask(rig, `/v1/tokens/${token.id}`, { method: "DELETE", headers: keyed() });
    await until(() => client.closed !== undefined, "the close");

    expect(client.closed).toBe(4401);
  });

  it("that does not read is cut with 4408, and others lose nothing", async () => {
    await using slowRig = await rig.another({ events: { queueBytes: 65_536 } });
    const good = new Client(slowRig, "");
    const slow = new Client(slowRig, "");
    await until(() => good.has("caught-up") && slow.has("caught-up"), "both to be live");
    const start = good.frames[0]?.seq ?? 0;
    (slow.socket as unknown as { _socket: Socket })._socket.pause();
    let last = 0;
    for (let i = 0; i < 60 && !/debvisor_event_streams_cut 1/.test((await ask(slowRig, "/metrics")).text); i++)
      last = await publish(5, 60_000);
    (slow.socket as unknown as { _socket: Socket })._socket.resume();
    await until(
      () => slow.closed !== undefined && good.seqs.includes(last),
      "the cut",
      () => `${slow.closed}`,
    );

    expect(slow.closed).toBe(4408);
    expect(good.seqs).toEqual(range(start + 1, last));
    expect(slow.seqs).toEqual(range(start + 1, start + slow.seqs.length));
    good.socket.close();
  });
});

describe("Server-Sent Events", () => {
  it("carry the sequence as id and resume after Last-Event-ID", async () => {
    const last = await publish(5);
    await settled(rig);
    const text = await readSse(rig, "", { headers: { "last-event-id": String(last - 2) } });
    const ids = [...text.matchAll(/id: (\d+)\nevent: message/g)].map(([, id]) => Number(id));

    expect(ids).toEqual([last - 1, last]);
    expect(text).toContain(`id: ${last}\nevent: control\ndata: {"control":"caught-up","seq":${last}}`);
  });

  it("are cut off when the reader stands still", async () => {
    await using slowRig = await rig.another({ events: { queueBytes: 65_536 } });
    const socket = connect(Number(new URL(slowRig.url).port), "127.0.0.1");
    socket.write(
      `GET /v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: ${slowRig.keys.viewer.bearer}\r\n\r\n`,
    );
    socket.pause();
    let closed = false;
    socket.on("close", () => {
      closed = true;
    });
    socket.on("error", () => undefined);
    await until(async () => /debvisor_event_streams 1/.test((await ask(slowRig, "/metrics")).text), "the stream");
    for (let i = 0; i < 60 && !/debvisor_event_streams_cut 1/.test((await ask(slowRig, "/metrics")).text); i++)
      await publish(5, 60_000);
    socket.resume();
    await until(() => closed, "the end of the connection");
  });
});

describe("a subscriber that comes back", () => {
  it("sees every event once although gateways and the broker are killed", async () => {
    const seen: number[] = [];
    let since = await publish(1);
    const start = since;
    let running = true;
    let target = Number.POSITIVE_INFINITY;
    let gateways = 0;
    const follow = async () => {
      while (since < target) {
        gateways++;
        const own = await rig.another({ events: { bufferEntries: 16 } });
        const client = new Client(own, `?since=${since}`);
        client.socket.on("message", (data) => {
          const { seq, control } = JSON.parse(String(data)) as Frame;
          if (control === "gap") throw new Error(`gap: ${String(data)}`);
          if (seq !== undefined && control === undefined) {
            seen.push(seq);
            since = seq;
          }
        });
        const wanted = since + 25;
        await until(
          () => since >= wanted || since >= target,
          "progress",
          () => `${since} of ${target}`,
          40_000,
        );
        client.socket.terminate();
        await own[Symbol.asyncDispose]();
      }
    };
    const kill = async () => {
      for (let i = 0; i < 3; i++) {
        await new Promise((resolve) => setTimeout(resolve, 500));
        const { pid } = cluster().server(0);
        cluster().server(0).kill();
        await cluster().server(0).recovered(pid);
      }
      running = false;
    };
    const work = async () => {
      let last = start;
      while (running) last = await publish(10);
      target = last;
    };
    await Promise.all([follow(), kill(), work()]);

    expect(gateways).toBeGreaterThan(2);
    expect(seen).toEqual(range(start + 1, target));
  });
});
