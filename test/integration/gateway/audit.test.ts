// SPDX-License-Identifier: Apache-2.0
/**
 * The gateway in the audit trail: a change is announced before anybody is asked and concluded after, whatever comes of it; without
 * the trail nothing is forwarded; what was refused is recorded as well. The records are read back from the real stream.
 */

import type { AuditRecord } from "@debvisor/proto-events/audit";
import { wireName } from "@debvisor/proto-events/kit";
import { allOperations } from "@debvisor/proto-events/registry";
import type { Problem } from "@debvisor/proto-events/replies";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { BODY_EXAMPLES, PARAMETER_EXAMPLES } from "../../../services/gateway/openapi-examples.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { ask, keyed, type Rig, startPeers, startRig, until } from "./rig.ts";
import { type Engine, refuse, startAuditor, startEngine, startMembership, startNames } from "./stand-ins.ts";

const cluster = sharedBusCluster({ servers: 1 });
let rig: Rig;
let engine: Engine;
let peers: Awaited<ReturnType<typeof startPeers>>;
let reader: ConnectedBus;

beforeAll(async () => {
  peers = await startPeers(cluster(), ["node-1"]);
  engine = await startEngine(cluster());
  reader = await startAuditor(cluster());
  await startNames(cluster());
  await startMembership(cluster());
  rig = await startRig(cluster());
});
afterAll(() => rig?.[Symbol.asyncDispose]());
beforeEach(() => {
  engine.before = () => undefined;
  engine.asked.length = 0;
  peers.calls.length = 0;
});

/** What a gateway has recorded about one request, or about all of them. */
async function trail(requestId?: string | null, at = rig): Promise<AuditRecord[]> {
  const entries = await reader.journal("DV_AUDIT").read(at.bus.user);
  const records = entries.map(({ text }) => JSON.parse(text) as AuditRecord);
  return requestId === undefined ? records : records.filter((record) => record.requestId === requestId);
}

/** Kinds and results of the records of one request. */
async function said(requestId: string | null, at = rig): Promise<string[]> {
  return (await trail(requestId, at)).map(({ kind, result }) =>
    [kind, result?.status, result?.code].filter(Boolean).join(" "),
  );
}

/** Refusals are written beside the answer; waits until as many records are there. */
async function recorded(requestId: string | null, count: number, at = rig): Promise<string[]> {
  await until(async () => (await trail(requestId, at)).length >= count, `${count} records of ${requestId}`);
  return said(requestId, at);
}

type Send = {
  readonly body?: object;
  readonly key?: string;
  readonly headers?: Record<string, string>;
  readonly at?: Rig;
};

async function send(method: string, path: string, { body = {}, key, headers = {}, at = rig }: Send = {}) {
  const init = { method, headers: { ...keyed(), ...headers }, body: JSON.stringify(body), ...(key ? { key } : {}) };
  const reply = await ask(at, path, init);
  return { ...reply, code: (reply.body as Problem | undefined)?.code, requestId: reply.headers.get("x-request-id") };
}

const PAUSE = "/v1/operations/op-k3x7w2mqabcde/pause";
const NODE = "/v1/nodes/node-1?reason=";

const routes = allOperations().flatMap((operation) => {
  const { http, effect } = operation.spec;
  if (!http || effect === "read") return [];
  const path = http.path.replace(/\{(\w+)\}/g, (_all, name: string) => String(PARAMETER_EXAMPLES[name]));
  const query = http.method === "DELETE" && "reason" in operation.spec.input.shape ? "?reason=gone" : "";
  return [[`${operation.service}.${operation.name}`, operation, http.method, `${path}${query}`] as const];
});
const direct = routes.filter(([, { spec }]) => !spec.durable);
const durable = routes.filter(([, { spec }]) => spec.durable);

describe("a change", () => {
  it("is announced before anybody is asked, and concluded before it is answered", async () => {
    let seen: string[] = [];
    engine.before = async ({ context }) => {
      seen = await said(context.requestId);
    };
    const { status, requestId } = await send("POST", PAUSE);

    expect(status).toBe(200);
    expect(seen).toEqual(["intent"]);
    expect(await said(requestId)).toEqual(["intent", "outcome ok"]);
  });

  it("is recorded with who, from where, what, why and in which trace", async () => {
    const trace = "c".repeat(32);
    const headers = { "dv-user": "ines (sudo by root)", traceparent: `00-${trace}-${"2".repeat(16)}-01` };
    const { requestId } = await send("POST", PAUSE, { body: { reason: "disk full", revision: 7 }, headers });
    const [intent, outcome] = await trail(requestId);

    expect(intent).toMatchObject({
      kind: "intent",
      ref: requestId,
      emitter: rig.bus.user,
      actor: rig.keys.admin.id,
      user: "ines (sudo by root)",
      source: "127.0.0.1",
      action: "operation.pause-operation",
      targets: ["op-k3x7w2mqabcde"],
      args: { reason: "disk full", revision: 7 },
      reason: "disk full",
      operation: "op-k3x7w2mqabcde",
      traceId: trace,
      result: null,
    });
    expect(outcome).toMatchObject({
      kind: "outcome",
      ref: requestId,
      result: { status: "ok", code: null, exitCode: 0 },
    });
  });

  it("of which nobody can be told is not forwarded, and its key stays free", async () => {
    const { manager, bus } = await cluster().admin();
    const { config } = await manager.streams.info("DV_AUDIT");
    await manager.streams.update("DV_AUDIT", { ...config, max_msgs: 1 });
    const refused = await Promise.all([
      send("POST", PAUSE, { headers: keyed("closed-1") }),
      send("DELETE", `${NODE}r`, { headers: keyed("closed-2") }),
      send("POST", "/v1/tokens", { headers: keyed("closed-3"), body: { name: "closed" } }),
    ]);
    const { items } = (await ask(rig, "/v1/tokens?filter=name=closed")).body as { items: unknown[] };
    const forwarded = [engine.asked.length, peers.calls.length, items.length];
    await manager.streams.update("DV_AUDIT", config);
    await bus.close();
    const again = await send("POST", "/v1/tokens", { headers: keyed("closed-3"), body: { name: "closed" } });

    for (const reply of refused) {
      expect([reply.status, reply.code]).toEqual([503, "AUDIT_UNAVAILABLE"]);
      expect(Number(reply.headers.get("retry-after"))).toBeGreaterThan(0);
    }
    expect(forwarded).toEqual([0, 0, 0]);
    expect([again.status, again.headers.get("idempotent-replayed")]).toEqual([201, null]);
    expect((await ask(rig, "/metrics")).text).toMatch(/^debvisor_audit_failed_closed 3$/m);
  });

  it("whose stored answer is repeated is not announced again: nothing is done", async () => {
    await send("POST", PAUSE, { headers: keyed("repeat") });
    const { requestId, headers } = await send("POST", PAUSE, { headers: keyed("repeat") });

    expect(headers.get("idempotent-replayed")).toBe("true");
    expect(await said(requestId)).toEqual([]);
  });

  it("under a request id that the client uses twice is told apart", async () => {
    const headers = { "x-request-id": "mine" };
    await send("POST", PAUSE, { headers: { ...headers, ...keyed() } });
    await send("POST", PAUSE, { headers: { ...headers, ...keyed() } });
    const records = await trail("mine");

    expect(records.map(({ kind }) => kind)).toEqual(["intent", "outcome", "intent", "outcome"]);
    expect(new Set(records.map(({ ref }) => ref)).size).toBe(2);
  });

  it.each([
    ["INTERNAL", "outcome failed INTERNAL"],
    ["OPERATION_STATE", "outcome refused OPERATION_STATE"],
    ["TIMEOUT", "outcome unknown TIMEOUT"],
  ] as const)("that ends with %s says so", async (code, outcome) => {
    engine.before = () => refuse(code);

    expect(await said((await send("POST", PAUSE)).requestId)).toEqual(["intent", outcome]);
  });

  it("whose gateway died in between stays announced; the repeat is announced and concluded anew", async () => {
    const second = await rig.another();
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    engine.before = () => held;
    const lost = send("POST", PAUSE, { headers: { "x-request-id": "lost", ...keyed("lost") }, at: second }).catch(
      () => null,
    );
    await until(() => engine.asked.length === 1, "the change to be forwarded");
    await second.bus.connection.close();
    release();
    await second[Symbol.asyncDispose]();
    await lost;
    engine.before = () => undefined;

    expect(await said("lost", second)).toEqual(["intent"]);
    expect(await said((await send("POST", PAUSE)).requestId)).toEqual(["intent", "outcome ok"]);
  });
});

describe("a gateway that stops", () => {
  it("concludes what it has announced first", async () => {
    await using second = await rig.another();
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    engine.before = () => held;
    const cut = send("POST", PAUSE, { headers: { "x-request-id": "cut", ...keyed() }, at: second }).catch(() => null);
    await until(() => engine.asked.length === 1, "the change to be forwarded");
    const stopped = second.gateway.stop();
    release();
    await Promise.all([stopped, cut]);

    expect(await said("cut", second)).toEqual(["intent", "outcome ok"]);
  });

  it("waits for nothing when everything is concluded", async () => {
    await using second = await rig.another();
    await send("POST", PAUSE, { at: second });
    const startedAt = performance.now();
    await second.gateway.stop();

    expect(performance.now() - startedAt).toBeLessThan(1_200);
  });
});

describe("every route that changes something", () => {
  it("is known to this test", () => {
    expect(direct.length).toBeGreaterThan(8);
    expect(durable.length).toBeGreaterThan(4);
  });

  it.each(direct)(
    "%s: announced and concluded, whether it succeeds or is refused by its service",
    async (name, _o, method, path) => {
      const { requestId, status } = await send(method, path, { body: BODY_EXAMPLES[name] as object });
      const records = await trail(requestId);

      expect(status).not.toBe(503);
      expect(records.map(({ kind }) => kind)).toEqual(["intent", "outcome"]);
      expect(records[1]?.result?.status).toBe(status < 400 ? "ok" : "refused");
      expect(records[1]?.ref).toBe(records[0]?.ref);
    },
  );

  it.each(durable)("%s: left to the engine once it has been handed over", async (name, _o, method, path) => {
    const accepted = await send(method, path, { body: BODY_EXAMPLES[name] as object });
    engine.before = () => refuse("CHECK_FAILED");
    const refused = await send(method, path, { body: BODY_EXAMPLES[name] as object });

    expect([accepted.status < 300, refused.code]).toEqual([true, "CHECK_FAILED"]);
    expect([...(await said(accepted.requestId)), ...(await said(refused.requestId))]).toEqual([]);
  });

  it.each(routes)(
    "%s: recorded when the role does not reach, the input is wrong, or the key is missing",
    async (name, _o, method, path) => {
      const body = BODY_EXAMPLES[name] as object;
      const denied = await send(method, path, { body, key: rig.keys.viewer.bearer });
      const invalid = await send(method, `${path}${path.includes("?") ? "&" : "?"}surprise=1`, { body });
      const keyless = await ask(rig, path, { method, headers: { "content-type": "application/json" }, body: "{}" });

      expect([denied.status, invalid.status, keyless.status]).toEqual([403, 400, 400]);
      expect(await recorded(denied.requestId, 1)).toEqual(["refusal refused PERMISSION_DENIED"]);
      expect(await recorded(invalid.requestId, 1)).toEqual(["refusal refused INVALID_ARGUMENT"]);
      expect(await recorded(keyless.headers.get("x-request-id"), 1)).toEqual([
        "refusal refused IDEMPOTENCY_KEY_MISSING",
      ]);
      expect((await trail(denied.requestId))[0]).toMatchObject({ action: wired(name), actor: rig.keys.viewer.id });
    },
  );

  it("leaves every intent with one end: its outcome, or a refusal when it was not known to be stored", async () => {
    const records = await trail();
    const intents = records.filter(({ kind }) => kind === "intent").map(({ ref }) => ref);
    const isEnd = ({ kind, ref }: AuditRecord) => kind !== "intent" && intents.includes(ref);
    const closed = records.filter(isEnd).map(({ ref }) => ref);

    expect(intents.length).toBeGreaterThan(10);
    expect(new Set(intents).size).toBe(intents.length);
    expect(closed.toSorted()).toEqual(intents.toSorted());
  });
});

describe("a refusal", () => {
  it("of a reused key, of a condition and of an engine that is not there is recorded", async () => {
    await send("DELETE", `${NODE}a`, { headers: keyed("reused") });
    const reused = await send("DELETE", `${NODE}b`, { headers: keyed("reused") });
    const stale = await send("DELETE", `${NODE}a`, { headers: { ...keyed(), "if-match": '"x"' } });
    await engine.stop();
    const nobody = await send("POST", "/v1/maintenance/enable", { body: { node: "node-1" } });
    engine = await startEngine(cluster());

    expect(await recorded(reused.requestId, 1)).toEqual(["refusal refused IDEMPOTENCY_KEY_REUSED"]);
    expect(await recorded(stale.requestId, 1)).toEqual(["refusal refused CONFLICT"]);
    expect(await recorded(nobody.requestId, 1)).toEqual(["refusal refused UNAVAILABLE"]);
  });

  it("of a read is recorded when it is a denial, and not when it is a mistake", async () => {
    const denied = await ask(rig, "/v1/tokens", { key: rig.keys.viewer.bearer });
    const mistake = await ask(rig, "/v1/nodes?surprise=1");

    expect(await recorded(denied.headers.get("x-request-id"), 1)).toEqual(["refusal refused PERMISSION_DENIED"]);
    expect(await said(mistake.headers.get("x-request-id"))).toEqual([]);
  });

  it("holds neither secrets nor contents", async () => {
    const content = Buffer.from("a line that is nobody's business\n".repeat(4)).toString("base64");
    const body = { nodes: "node-1", to: "/etc/motd", contentBase64: content, password: "hunter2hunter2" };
    const { requestId } = await send("POST", "/v1/files/put", { body });
    await recorded(requestId, 1);
    const [record] = await trail(requestId);

    expect(record?.targets).toEqual(["node-1", "/etc/motd"]);
    expect(JSON.stringify(record)).not.toContain(content.slice(0, 40));
    expect(JSON.stringify(record)).not.toContain("hunter2");
    expect(record?.args["contentBase64"]).toMatchObject({ sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
  });

  it("without a valid key is recorded once for a burst", async () => {
    const before = (await trail()).filter(({ action }) => action === "gateway.authenticate").length;
    await Promise.all(Array.from({ length: 60 }, () => ask(rig, "/v1/nodes", { key: "Bearer dv_nobody_x" })));
    const bursts = async () => (await trail()).filter(({ action }) => action === "gateway.authenticate");
    await until(async () => (await bursts()).length > before, "the record of the burst");
    await ask(rig, "/v1/nodes");

    expect(await bursts()).toHaveLength(before + 1);
    expect((await bursts()).at(-1)).toMatchObject({
      kind: "refusal",
      actor: "unauthenticated",
      source: "127.0.0.1",
      result: { status: "refused", code: "UNAUTHENTICATED", exitCode: 1 },
    });
  });

  it("of which one caller makes too many is counted instead, and never slows an answer", async () => {
    await using fresh = await rig.another();
    const lost = async () =>
      Number(/^debvisor_audit_refusals_lost (\d+)$/m.exec((await ask(fresh, "/metrics")).text)?.[1]);
    const replies = await Promise.all(
      Array.from({ length: 200 }, () => send("DELETE", `${NODE}r`, { key: fresh.keys.viewer.bearer, at: fresh })),
    );
    await until(
      async () => (await trail(undefined, fresh)).filter(({ kind }) => kind === "refusal").length >= 120,
      "the records",
    );

    expect(replies.every(({ status }) => status === 403)).toBe(true);
    expect(await lost()).toBeGreaterThanOrEqual(70);
    expect((await trail(undefined, fresh)).filter(({ kind }) => kind === "refusal").length + (await lost())).toBe(200);
  });
});

/** `operation.pauseOperation` → `operation.pause-operation`, as the trail names it. */
function wired(name: string): string {
  const [service = "", operation = ""] = name.split(".");
  return `${service}.${wireName(operation)}`;
}
