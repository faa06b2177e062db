// SPDX-License-Identifier: Apache-2.0
/** Durable operations over HTTP: who makes the id, what is answered when, and that a repeat finds the same operation. */
import type { Operation } from "@debvisor/proto-events/durable";
import { OperationId } from "@debvisor/proto-events/primitives";
import type { Problem } from "@debvisor/proto-events/replies";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { IdempotencyRecord } from "../../../services/gateway/idempotency.ts";
import { operationIdOf } from "../../../services/gateway/model/operation-id.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { ask, keyed, type Rig, startPeers, startRig, until } from "./rig.ts";
import { DIGEST, type Engine, operationRecord, refuse, startEngine } from "./stand-ins.ts";

const cluster = sharedBusCluster({ servers: 1 });
let rig: Rig;
let engine: Engine;

beforeAll(async () => {
  await startPeers(cluster(), ["node-1"]);
  engine = await startEngine(cluster());
  rig = await startRig(cluster());
});
afterAll(() => rig?.[Symbol.asyncDispose]());
beforeEach(() => {
  engine.before = () => undefined;
  engine.asked.length = 0;
});

const RESTART = "/v1/nodes/node-1/services/gateway/restart";

function post(path: string, body: object, headers: Record<string, string> = {}, at = rig) {
  return ask(at, path, { method: "POST", headers: { ...keyed(), ...headers }, body: JSON.stringify(body) });
}

describe("a durable operation", () => {
  it("is accepted with 202 and its place, under the id that follows from caller and key", async () => {
    const reply = await post(RESTART, { reason: "leaks" }, keyed("first"));
    const id = operationIdOf(rig.keys.admin.id, "first");

    expect([reply.status, reply.headers.get("location")]).toEqual([202, `/v1/operations/${id}`]);
    expect((reply.body as Operation).id).toBe(id);
    expect(OperationId.safeParse(id).success).toBe(true);
    expect((await ask(rig, reply.headers.get("location") ?? "")).status).toBe(200);
  });

  it("brings along who asked, who typed it, from where, in which trace, and under which id", async () => {
    const trace = "a".repeat(32);
    const headers = {
      "dv-user": `ines (sudo by root)${"x".repeat(300)}`,
      traceparent: `00-${trace}-${"2".repeat(16)}-01`,
      "x-request-id": "r-1",
    };
    await post(RESTART, {}, { ...headers, ...keyed("who") });

    expect(engine.asked).toEqual([
      expect.objectContaining({
        action: "host.restartService",
        context: {
          requestId: "r-1",
          actor: rig.keys.admin.id,
          user: `ines (sudo by root)${"x".repeat(181)}`,
          source: "127.0.0.1",
          operation: operationIdOf(rig.keys.admin.id, "who"),
          traceId: trace,
        },
      }),
    ]);
  });

  it.each(["check", "plan"])(
    "asked for in mode %s is answered with 200 and the plan's digest as ETag",
    async (mode) => {
      const reply = await post(`${RESTART}?mode=${mode}`, {});

      expect(reply.status).toBe(200);
      expect((reply.body as Operation).mode).toBe(mode);
      expect([reply.headers.get("location"), reply.headers.get("etag")]).toEqual([null, `"${DIGEST}"`]);
    },
  );

  it("takes its options in the query as well as in the body", async () => {
    await post(`${RESTART}?wait=30s&deadline=5m&priority=7`, { reason: "r" });

    expect(engine.asked[0]?.input).toMatchObject({
      wait: "30s",
      deadline: "5m",
      priority: 7,
      reason: "r",
      mode: "apply",
    });
    expect((await post(`${RESTART}?mode=plan`, { mode: "plan" })).status).toBe(400);
    expect((await post(`${RESTART}?mode=soon`, {})).status).toBe(400);
  });

  it("that has ended already when it is answered is still 202", async () => {
    const id = operationIdOf(rig.keys.admin.id, "ended");
    engine.operations.set(id, operationRecord({ id, type: "host.restart-service", state: "succeeded" }));

    expect((await post(RESTART, {}, keyed("ended"))).status).toBe(202);
  });

  it("is not begun without a key", async () => {
    const reply = await ask(rig, RESTART, {
      method: "POST",
      body: "{}",
      headers: { "content-type": "application/json" },
    });

    expect([reply.status, (reply.body as Problem).code]).toEqual([400, "IDEMPOTENCY_KEY_MISSING"]);
    expect(engine.asked).toEqual([]);
  });

  it("answers UNAVAILABLE with the time after which to try again when nobody runs operations", async () => {
    await engine.stop();
    const reply = await post(RESTART, {}, keyed("nobody"));
    engine = await startEngine(cluster());
    const again = await post(RESTART, {}, keyed("nobody"));

    expect([reply.status, (reply.body as Problem).code, again.status]).toEqual([503, "UNAVAILABLE", 202]);
    expect(Number(reply.headers.get("retry-after"))).toBeGreaterThan(0);
  });

  it.each([
    ["LOCK_HELD", 423],
    ["IN_MAINTENANCE", 423],
    ["AUDIT_UNAVAILABLE", 503],
  ] as const)("refused with %s says when to come back, and may be repeated with its key", async (code, status) => {
    engine.before = () => refuse(code);
    const refused = await post(RESTART, {}, keyed(code));
    engine.before = () => undefined;
    const accepted = await post(RESTART, {}, keyed(code));

    expect([refused.status, (refused.body as Problem).code, accepted.status]).toEqual([status, code, 202]);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  });
});

describe("a repeat of a durable operation", () => {
  it("gets the first answer, through any gateway", async () => {
    await using second = await rig.another();
    const first = await post(RESTART, {}, keyed("again"));
    const again = await post(RESTART, {}, keyed("again"), second);

    expect(engine.asked).toHaveLength(1);
    expect([again.status, again.text, again.headers.get("location")]).toEqual([
      202,
      first.text,
      first.headers.get("location"),
    ]);
    expect(again.headers.get("idempotent-replayed")).toBe("true");
  });

  it("asks again at once when the first gateway died, and finds the same operation", async () => {
    const first = await post(RESTART, {}, keyed("died"));
    const bucket = await rig.bus.bucket("dv_idempotency", IdempotencyRecord);
    const requestId = first.headers.get("x-request-id");
    let found: { key: string; revision: number; value: IdempotencyRecord } | undefined;
    const watch = await bucket.watch(({ entry }) => {
      if (entry?.value.requestId === requestId) found = entry;
    });
    await until(() => found !== undefined, "the stored answer");
    await watch.stop();
    const { key, value, revision } = found as NonNullable<typeof found>;
    await bucket.update(key, { ...value, state: "pending", endedAt: null, status: null, sealed: null }, revision);
    const again = await post(RESTART, {}, keyed("died"));

    expect(engine.asked.map(({ context }) => context.operation)).toEqual(
      Array(2).fill(operationIdOf(rig.keys.admin.id, "died")),
    );
    expect([again.status, (again.body as Operation).id]).toEqual([202, (first.body as Operation).id]);
    expect(engine.operations.has((first.body as Operation).id ?? "")).toBe(true);
  });

  it("sent many times at once, through two gateways, is one operation", async () => {
    await using second = await rig.another();
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, i) => post(RESTART, {}, keyed("burst"), i % 2 === 0 ? rig : second)),
    );
    const id = operationIdOf(rig.keys.admin.id, "burst");
    const accepted = replies.filter(({ status }) => status === 202);

    expect(replies.every(({ status }) => status === 202 || status === 423)).toBe(true);
    expect(new Set(accepted.map(({ headers }) => headers.get("location")))).toEqual(new Set([`/v1/operations/${id}`]));
    expect(new Set(engine.asked.map(({ context }) => context.operation))).toEqual(new Set([id]));
    expect((await post(RESTART, {}, keyed("burst"))).headers.get("idempotent-replayed")).toBe("true");
  });

  it("is bound to what was asked for first", async () => {
    await post(RESTART, {}, keyed("bound"));
    const other = await post("/v1/nodes/node-1/services/discovery/restart", {}, keyed("bound"));

    expect([other.status, (other.body as Problem).code]).toEqual([409, "IDEMPOTENCY_KEY_REUSED"]);
  });

  it("under a key whose answer has expired while its operation is still there does not pass for another operation", async () => {
    const id = operationIdOf(rig.keys.admin.id, "old");
    engine.operations.set(id, operationRecord({ id, type: "host.put-file", state: "succeeded" }));
    const reply = await post(RESTART, {}, keyed("old"));

    expect([reply.status, (reply.body as Problem).code]).toEqual([409, "IDEMPOTENCY_KEY_REUSED"]);
  });
});

describe("waiting for an operation", () => {
  const ID = "op-k3x7w2mqabcde";

  it("lets the service wait as long as the caller wants, and answers with the operation", async () => {
    let askedFor = 0;
    engine.before = ({ input }) => {
      askedFor = Number(input["seconds"]);
    };
    const reply = await ask(rig, `/v1/operations/${ID}/wait?seconds=2&after=6`);

    expect([reply.status, askedFor, reply.headers.get("etag")]).toEqual([200, 2, '"7"']);
  });

  it("gives a service up that does not keep the time", async () => {
    engine.before = () => new Promise((resolve) => setTimeout(resolve, 8_000));
    const started = performance.now();
    const reply = await ask(rig, `/v1/operations/${ID}/wait?seconds=0`);
    const ms = performance.now() - started;

    expect([reply.status, (reply.body as Problem).code]).toEqual([504, "TIMEOUT"]);
    expect(ms).toBeGreaterThan(4_000);
    expect(ms).toBeLessThan(7_000);
  });

  it("ends for the gateway when its caller leaves", async () => {
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    engine.before = () => held;
    const abort = new AbortController();
    const waiting = fetch(`${rig.url}/v1/operations/${ID}/wait?seconds=20`, {
      headers: { authorization: rig.keys.admin.bearer },
      signal: abort.signal,
    }).catch((error: unknown) => error);
    await until(() => engine.asked.length === 1, "the service to be asked");
    abort.abort();
    await waiting;
    const counted = async () =>
      /wait",status="\d+"\} \d+/.exec(
        (await ask(rig, "/metrics")).text.split("\n").find((l) => l.includes("_count{") && l.includes("/wait")) ?? "",
      )?.[0];
    const before = await counted();
    release();
    expect((await ask(rig, `/v1/operations/${ID}`)).status).toBe(200);
    expect(await counted()).toBe(before);
  });
});
