// SPDX-License-Identifier: Apache-2.0
/** The gateway's requests over a real bus: operations, fan-out, keys, idempotency, and the form of every refusal. */
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { Node } from "@debvisor/proto-events/discovery";
import { gatewayContract } from "@debvisor/proto-events/gateway";
import { Problem } from "@debvisor/proto-events/replies";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { ask, keyed, type Rig, startPeers, startRig, until } from "./rig.ts";

const cluster = sharedBusCluster({ servers: 1 });
let rig: Rig;
let peers: Awaited<ReturnType<typeof startPeers>>;

beforeAll(async () => {
  peers = await startPeers(cluster(), ["node-1", "node-2", "node-10"]);
  rig = await startRig(cluster());
});
afterAll(() => rig?.[Symbol.asyncDispose]());

describe("core operations", () => {
  it("pass through to their service", async () => {
    const { status, body } = await ask(rig, "/v1/nodes/node-1");

    expect(status).toBe(200);
    expect(Node.parse(body).name).toBe("node-1");
  });

  it("answer 304 to the ETag that they sent", async () => {
    const first = await ask(rig, "/v1/nodes/node-1");
    const second = await ask(rig, "/v1/nodes/node-1", {
      headers: { "if-none-match": first.headers.get("etag") ?? "" },
    });

    expect(second.status).toBe(304);
    expect(second.text).toBe("");
  });

  it("carry request id and trace", async () => {
    const trace = "1".repeat(32);
    const { headers } = await ask(rig, "/v1/nodes", {
      headers: { "x-request-id": "my-id.1", traceparent: `00-${trace}-${"2".repeat(16)}-01` },
    });

    expect(headers.get("x-request-id")).toBe("my-id.1");
    expect(headers.get("traceresponse")).toContain(trace);
  });

  it.each(Object.entries(gatewayContract.operations).filter(([, spec]) => spec.http?.method === "GET"))(
    "of the gateway match their schema: %s",
    async (_name, spec) => {
      const { status, body } = await ask(rig, spec.http?.path ?? "");

      expect(status).toBe(200);
      expect(spec.output.safeParse(body).error).toBeUndefined();
    },
  );

  it("show the gateway and its peers among the services", async () => {
    const { body } = await ask(rig, "/v1/services");

    expect((body as { items: { service: string }[] }).items.map(({ service }) => service)).toEqual(
      expect.arrayContaining(["discovery", "gateway", "node-agent"]),
    );
  });
});

interface FanOutReply {
  readonly census: Record<string, number | string>;
  readonly results: { node: string; name: string; status: string; data?: unknown; error?: { code: string } }[];
}

describe("fan-outs", () => {
  it("name every target in the order of names, and count it once", async () => {
    const { body, status } = await ask(rig, "/v1/metrics?nodes=all");
    const { census, results } = body as FanOutReply;

    expect(status).toBe(200);
    expect(results.map(({ name, status: how }) => `${name} ${how}`)).toEqual(["node-1 ok", "node-2 ok", "node-10 ok"]);
    expect(census).toMatchObject({ total: 3, ok: 3, failed: 0, skipped: 0 });
  });

  it("report failures with their code", async () => {
    const { body } = await ask(rig, "/v1/facts?nodes=node-1,node-2");

    expect((body as FanOutReply).results.map(({ error }) => error?.code)).toEqual(["TOOL_FAILED", "TOOL_FAILED"]);
  });

  it("stream their answers as NDJSON with the census last", async () => {
    const { text, headers } = await ask(rig, "/v1/metrics?nodes=all", { headers: { accept: "application/x-ndjson" } });
    const lines = text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { census?: { ok: number } });

    expect(headers.get("content-type")).toContain("application/x-ndjson");
    expect(lines).toHaveLength(4);
    expect(lines.at(-1)?.census?.ok).toBe(3);
  });

  it.each([
    ["no selection", "", 400, "INVALID_ARGUMENT"],
    ["an empty selection", "?nodes=", 400, "INVALID_ARGUMENT"],
    ["an unknown field", "?nodes=colour=red", 400, "INVALID_ARGUMENT"],
    ["a selection that matches none", "?nodes=role=server", 404, "NO_TARGETS"],
    ["an unknown name alone", "?nodes=nobody", 404, "NO_TARGETS"],
    ["an unknown name among others", "?nodes=node-1,nobody", 404, "NODE_NOT_FOUND"],
  ])("refuse %s", async (_title, query, status, code) => {
    const reply = await ask(rig, `/v1/metrics${query}`);

    expect([reply.status, (reply.body as Problem).code]).toEqual([status, code]);
  });

  it("skip disabled nodes and name nodes that are gone", async () => {
    const registry = await peers.discovery.bucket("dv_nodes", Node);
    const gone = {
      ...((await ask(rig, "/v1/nodes/node-1")).body as Node),
      id: "a".repeat(16),
      name: "gone",
      state: "lost" as const,
    };
    const off = {
      ...gone,
      id: "b".repeat(16),
      name: "off",
      state: "disabled" as const,
      disabled: { reason: "r", actor: "a", at: gone.registeredAt },
    };
    await registry.create(gone.id, gone);
    await registry.create(off.id, off);

    try {
      await until(async () => (await ask(rig, "/v1/metrics?nodes=gone,off")).status === 200, "the registry's change");
      const { results, census } = (await ask(rig, "/v1/metrics?nodes=gone,off,node-1")).body as FanOutReply;

      expect(results.map(({ name, status }) => `${name} ${status}`)).toEqual([
        "gone unreachable",
        "node-1 ok",
        "off skipped",
      ]);
      expect(census).toMatchObject({ total: 3, ok: 1, unreachable: 1, skipped: 1 });
    } finally {
      await registry.delete(gone.id);
      await registry.delete(off.id);
    }
  });
});

describe("refusals", () => {
  const raw = (text: string) =>
    new Promise<string>((resolve, reject) => {
      const socket = connect(Number(new URL(rig.url).port), "127.0.0.1", () => socket.write(text));
      let all = "";
      socket.on("data", (chunk) => {
        all += chunk.toString();
      });
      socket.on("close", () => resolve(all));
      socket.on("error", reject);
      socket.setTimeout(3_000, () => socket.destroy());
    });
  const head = () => `Host: x\r\nConnection: close\r\nAuthorization: ${rig.keys.admin.bearer}\r\n`;

  it.each([
    ["an unknown path", "GET", "/nothing", {}, 404],
    ["an unknown method", "PATCH", "/v1/nodes", {}, 405],
    ["a long URL", "GET", `/v1/nodes?filter=${"a".repeat(3_000)}`, {}, 414],
    ["a long path part", "GET", `/v1/nodes/${"a".repeat(3_000)}`, {}, 414],
    ["bad URL encoding", "GET", "/v1/nodes/%zz", {}, 400],
    ["an unknown query field", "GET", "/v1/nodes?nope=1", {}, 400],
    [
      "another media type",
      "POST",
      "/v1/tokens",
      { body: "a=b", headers: { "content-type": "application/x-www-form-urlencoded" } },
      415,
    ],
    ["broken JSON", "POST", "/v1/tokens", { body: "{", headers: { "content-type": "application/json" } }, 400],
    [
      "deep JSON",
      "POST",
      "/v1/tokens",
      { body: `${"[".repeat(40)}${"]".repeat(40)}`, headers: { "content-type": "application/json" } },
      400,
    ],
    [
      "a prototype in JSON",
      "POST",
      "/v1/tokens",
      { body: '{"__proto__":{}}', headers: { "content-type": "application/json" } },
      400,
    ],
    [
      "a large body",
      "POST",
      "/v1/tokens",
      { body: `"${"a".repeat(1_100_000)}"`, headers: { "content-type": "application/json" } },
      413,
    ],
    [
      "a field given twice",
      "POST",
      "/v1/nodes/node-1/disable?reason=a",
      { body: '{"reason":"b"}', headers: keyed() },
      400,
    ],
  ])("of %s are problem documents", async (_title, method, path, init, status) => {
    const reply = await ask(rig, path, { method, ...init });

    expect(reply.status).toBe(status);
    expect(reply.headers.get("content-type")).toContain("application/problem+json");
    expect(Problem.parse(reply.body)).toMatchObject({ status, requestId: reply.headers.get("x-request-id") });
  });

  it("of what is no HTTP at all are problem documents", async () => {
    expect(await raw("NONSENSE\r\n\r\n")).toMatch(
      /^HTTP\/1.1 400 [\s\S]*application\/problem\+json[\s\S]*INVALID_ARGUMENT/,
    );
  });

  it("of too many headers are problem documents", async () => {
    expect(await raw(`GET / HTTP/1.1\r\n${head()}X: ${"a".repeat(20_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1.1 431 [\s\S]*REQUEST_TOO_LARGE/,
    );
  });

  it("never stop a HEAD or OPTIONS request", async () => {
    const options = await ask(rig, "/v1/nodes", { method: "OPTIONS" });
    const status = await new Promise<number>((resolve) =>
      httpRequest(
        `${rig.url}/v1/nodes`,
        { method: "HEAD", headers: { authorization: rig.keys.viewer.bearer } },
        (response) => resolve(response.resume().statusCode ?? 0),
      ).end(),
    );

    expect([options.status, options.headers.get("allow")]).toEqual([204, "GET, HEAD, POST, OPTIONS"]);
    expect(status).toBe(200);
  });

  it("of a rate say when to come back", async () => {
    await using limited = await rig.another({ rates: { read: 3, change: 1, lifecycle: 1, failure: 2 } });
    const statuses: number[] = [];
    for (let i = 0; i < 5; i++) statuses.push((await ask(limited, "/v1/errors")).status);
    const reply = await ask(limited, "/v1/errors");

    expect(statuses).toEqual([200, 200, 200, 429, 429]);
    expect(Number(reply.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(Problem.parse(reply.body)).toMatchObject({ code: "RATE_LIMITED", exitCode: 5 });
  });
});

describe("what is no operation", () => {
  it.each(["/healthz", "/readyz", "/metrics", "/v1/openapi.json", "/v1/asyncapi.json", "/docs/"])(
    "answers %s without a key from loopback",
    async (path) => {
      const { status, text } = await ask(rig, path, { key: "" });

      expect(status).toBe(200);
      expect(text.length).toBeGreaterThan(10);
    },
  );

  it("counts requests by route and status", async () => {
    const { text } = await ask(rig, "/metrics");
    expect(text).toMatch(
      /debvisor_http_request_duration_seconds_count\{method="GET",route="\/v1\/nodes\/\{node\}",status="200"\} \d+/,
    );
  });
});
