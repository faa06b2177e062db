// SPDX-License-Identifier: Apache-2.0
/** Following events over real WebSockets: resuming across servers without gap and without duplicate. */
import type { AddressInfo } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type WebSocket, WebSocketServer } from "ws";
import { problem, startCannedApi } from "../../../test/support/canned-api.ts";
import { followEvents, Position, type StreamHandlers, type StreamQuery } from "./event-stream.ts";

function frame(seq: number) {
  return JSON.stringify({
    id: "0".repeat(32),
    type: "discovery.node.lost",
    source: "core",
    time: "2026-01-01T00:00:00.000Z",
    subject: "n",
    dataversion: 1,
    data: {},
    seq,
  });
}

/** A server that hands each connection's `since` to `serve`. */
async function startStream(serve: (socket: WebSocket, since: string | null) => void) {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  await new Promise((resolve) => server.once("listening", resolve));
  server.on("connection", (socket, request) =>
    serve(socket, new URL(request.url ?? "", "ws://x").searchParams.get("since")),
  );
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        for (const client of server.clients) client.terminate();
        server.close(() => resolve());
      }),
  };
}

async function follow(
  servers: readonly string[],
  query: StreamQuery,
  until: number,
  extra: Partial<StreamHandlers> = {},
) {
  const seen: number[] = [];
  const handlers: StreamHandlers = {
    onEvent: ({ seq }) => {
      seen.push(seq);
      return seen.length < until;
    },
    onTelemetry: () => true,
    onControl: () => true,
    onReconnect: () => undefined,
    ...extra,
  };
  await followEvents({ context: { servers, token: "t" }, query, handlers, signal: AbortSignal.timeout(5_000) });
  return seen;
}

describe("following events", () => {
  it("goes on behind the last event on another server, and drops what comes twice", async () => {
    const asked: (string | null)[] = [];
    const serve = (socket: WebSocket, since: string | null) => {
      asked.push(since);
      const from = Number(since ?? 0);
      // Sends one event again that the client has, as a gateway that starts one too early would.
      for (const seq of [from, from + 1, from + 2].filter((one) => one > 0)) socket.send(frame(seq));
      setTimeout(() => socket.terminate(), 20);
    };
    await using one = await startStream(serve);
    await using two = await startStream(serve);

    const seen = await follow([one.url, two.url], { since: "0" }, 6);

    expect(seen).toEqual([1, 2, 3, 4, 5, 6]);
    expect(asked).toEqual(["0", "2", "4"]);
  });

  it("ends at caught-up when asked to", async () => {
    await using stream = await startStream((socket) => {
      socket.send(frame(7));
      socket.send(JSON.stringify({ control: "caught-up", seq: 9 }));
    });

    const seen = await follow([stream.url], { tail: 1 }, 100, { onControl: ({ control }) => control !== "caught-up" });

    expect(seen).toEqual([7]);
  });

  it("passes on what the gateway refuses with", async () => {
    await using api = await startCannedApi(() => problem("PERMISSION_DENIED", "permission-denied", 403, 1));
    api.server.on("upgrade", (_request, socket) => {
      const body = JSON.stringify(problem("PERMISSION_DENIED", "permission-denied", 403, 1).body);
      socket.end(
        `HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
      );
    });

    await expect(follow([api.url], {}, 1)).rejects.toMatchObject({ code: "PERMISSION_DENIED", exitCode: 1 });
  });

  it("gives up when no server was ever reached", async () => {
    await expect(follow(["http://127.0.0.1:2"], {}, 1)).rejects.toMatchObject({ exitCode: 4 });
  });

  it("waits for a server that comes back", async () => {
    let connections = 0;
    await using stream = await startStream((socket) => {
      connections++;
      socket.send(frame(connections));
      if (connections === 1) setTimeout(() => socket.terminate(), 10);
    });

    expect(await follow([stream.url, "http://127.0.0.1:2"], {}, 2)).toEqual([1, 2]);
    await pause(1);
  });
});

describe("the position in a stream", () => {
  it("never lets the same event through twice, in whatever order they come", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 30 })), (sequence) => {
        const position = new Position({});
        const passed = sequence.filter((seq) => position.advance(seq));
        expect(passed).toEqual([...new Set(passed)].sort((a, b) => a - b));
      }),
    );
  });

  it("starts a stream without history again at the moment it was first open", () => {
    const position = new Position({ filter: "a.>" });
    position.opened("2026-01-01T00:00:00.000Z");
    position.opened("2026-01-01T00:05:00.000Z");

    expect(position.next()).toMatchObject({ since: "2026-01-01T00:00:00.000Z", filter: "a.>" });
  });

  it("asks with its first words until something was seen", () => {
    const position = new Position({ tail: 5 });
    position.opened("2026-01-01T00:00:00.000Z");

    expect(position.next()).toMatchObject({ tail: 5, since: undefined });
    position.advance(12);
    expect(position.next()).not.toHaveProperty("tail");
    expect(position.next()).toMatchObject({ since: 12 });
  });
});
