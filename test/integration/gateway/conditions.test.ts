// SPDX-License-Identifier: Apache-2.0
/** ETag, If-None-Match and If-Match (RFC 9110 §13): plans, operations and objects. */
import { Node } from "@debvisor/proto-events/discovery";
import type { Operation } from "@debvisor/proto-events/durable";
import type { Problem } from "@debvisor/proto-events/replies";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { operationIdOf } from "../../../services/gateway/model/operation-id.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { ask, keyed, type Rig, startPeers, startRig } from "./rig.ts";
import { DIGEST, type Engine, startEngine } from "./stand-ins.ts";

const cluster = sharedBusCluster({ servers: 1 });
let rig: Rig;
let engine: Engine;
let peers: Awaited<ReturnType<typeof startPeers>>;

beforeAll(async () => {
  peers = await startPeers(cluster(), ["node-1"]);
  engine = await startEngine(cluster());
  rig = await startRig(cluster());
});
afterAll(() => rig?.[Symbol.asyncDispose]());
beforeEach(() => {
  engine.asked.length = 0;
  peers.calls.length = 0;
});

const RESTART = "/v1/nodes/node-1/services/gateway/restart";

async function change(path: string, ifMatch: string | undefined, body: object = {}, method = "POST") {
  const headers = { ...keyed(), ...(ifMatch === undefined ? {} : { "if-match": ifMatch }) };
  const reply = await ask(rig, path, { method, headers, body: JSON.stringify(body) });
  return { ...reply, said: [reply.status, (reply.body as Problem | undefined)?.code ?? null] };
}

describe("If-Match on a durable operation", () => {
  it("carries the plan that was looked at", async () => {
    const plan = await change(`${RESTART}?mode=plan`, undefined);
    const applied = await change(RESTART, plan.headers.get("etag") ?? "");

    expect(applied.status).toBe(202);
    expect(engine.asked.at(-1)?.input["plan"]).toBe(DIGEST);
  });

  it("is 412 when the world has moved; the same in the body is the conflict that it is", async () => {
    const moved = "cd".repeat(32);

    expect((await change(RESTART, `"${moved}"`)).said).toEqual([412, "PLAN_STALE"]);
    expect((await change(RESTART, undefined, { plan: moved })).said).toEqual([409, "PLAN_STALE"]);
  });

  it.each([
    ["a weak tag, which matches nothing", `W/"${DIGEST}"`, 412, "PLAN_STALE"],
    ["a tag that is no plan's", '"4711"', 412, "PLAN_STALE"],
    ["*, for there is no plan yet", "*", 400, "INVALID_ARGUMENT"],
    ["several tags", `"${DIGEST}", "${"cd".repeat(32)}"`, 400, "INVALID_ARGUMENT"],
    ["what is no tag", DIGEST, 400, "INVALID_ARGUMENT"],
  ])("refuses %s, and nobody is asked", async (_title, header, status, code) => {
    expect((await change(RESTART, header)).said).toEqual([status, code]);
    expect(engine.asked).toEqual([]);
  });

  it("is not overruled by the body", async () => {
    expect((await change(RESTART, `"${DIGEST}"`, { plan: DIGEST })).said).toEqual([400, "INVALID_ARGUMENT"]);
  });
});

describe("an operation", () => {
  const begin = async (key: string) => {
    await ask(rig, RESTART, { method: "POST", headers: keyed(key), body: "{}" });
    return `/v1/operations/${operationIdOf(rig.keys.admin.id, key)}`;
  };

  it("has its revision as ETag, and is not sent again while that holds", async () => {
    const place = await begin("tagged");
    const first = await ask(rig, place);
    const etag = first.headers.get("etag") ?? "";
    const again = await ask(rig, place, { headers: { "if-none-match": etag } });
    await change(`${place}/pause`, undefined);
    const later = await ask(rig, place, { headers: { "if-none-match": etag } });

    expect(etag).toBe(`"${(first.body as Operation).revision}"`);
    expect([again.status, again.text]).toEqual([304, ""]);
    expect([later.status, later.headers.get("etag")]).toEqual([200, '"8"']);
  });

  it.each(["cancel", "pause", "continue", "rollback", "retry"])(
    "is not told to %s when it has changed",
    async (verb) => {
      const place = await begin(`verb-${verb}`);
      const etag = (await ask(rig, place)).headers.get("etag") ?? "";
      const first = await change(`${place}/${verb}`, etag);
      const second = await change(`${place}/${verb}`, etag);

      expect(first.status).toBe(200);
      expect(second.said).toEqual([412, "CONFLICT"]);
      expect(
        engine.asked.filter(({ action }) => action.startsWith(`operation.${verb}`)).map(({ input }) => input),
      ).toEqual([expect.objectContaining({ revision: 7 }), expect.objectContaining({ revision: 7 })]);
    },
  );

  it.each([
    ["*", 200, null],
    ['W/"7"', 412, "CONFLICT"],
    ['"seven"', 412, "CONFLICT"],
    ['"0"', 412, "CONFLICT"],
    ['"7", "8"', 400, "INVALID_ARGUMENT"],
    ["7", 400, "INVALID_ARGUMENT"],
  ])("with If-Match: %s", async (header, status, code) => {
    expect((await change("/v1/operations/op-k3x7w2mqabcde/pause", header)).said).toEqual([status, code]);
  });

  it("that is not there is 404 whatever the condition", async () => {
    expect((await change("/v1/operations/op-aaaaaaaaaaaaa/pause", "*")).said).toEqual([404, "OPERATION_NOT_FOUND"]);
  });
});

describe("If-Match on another change", () => {
  const tagOf = async () => (await ask(rig, "/v1/nodes/node-1")).headers.get("etag") ?? "";
  const remove = (tag: string, reason: string) => change(`/v1/nodes/node-1?reason=${reason}`, tag, {}, "DELETE");

  it("holds while the object is what was read", async () => {
    expect((await remove(await tagOf(), "a")).status).toBe(200);
    expect((await remove(`"x", ${await tagOf()}`, "b")).status).toBe(200);
    expect((await remove("*", "c")).status).toBe(200);
    expect(peers.calls).toEqual(["delete node-1 a", "delete node-1 b", "delete node-1 c"]);
  });

  it.each(['"x"', 'W/"x"'])("is 412 for %s, and the service is not told", async (header) => {
    expect((await remove(header, "r")).said).toEqual([412, "CONFLICT"]);
    expect(peers.calls).toEqual([]);
  });

  it("does not compare weakly, also not what would match", async () => {
    expect((await remove(`W/${await tagOf()}`, "r")).said).toEqual([412, "CONFLICT"]);
  });

  it("looks at what lasts: heartbeats change the tag and not what If-Match compares", async () => {
    const before = await ask(rig, "/v1/nodes/node-1");
    const node = before.body as Node;
    const record = peers.records.find(({ name }) => name === "node-1");
    Object.assign(record as object, { lastSeen: "2026-11-21T09:00:00.000Z" });
    const beat = await ask(rig, "/v1/nodes/node-1", { headers: { "if-none-match": before.headers.get("etag") ?? "" } });
    const held = await remove(before.headers.get("etag") ?? "", "beat");
    Object.assign(record as object, { state: "suspect" });
    const moved = await remove(beat.headers.get("etag") ?? "", "moved");
    Object.assign(record as object, { state: node.state, lastSeen: node.lastSeen });

    expect([beat.status, held.status, moved.said]).toEqual([200, 200, [412, "CONFLICT"]]);
    expect(Node.parse(beat.body).lastSeen).toBe("2026-11-21T09:00:00.000Z");
    expect(peers.calls).toEqual(["delete node-1 beat"]);
  });

  it("of a repeat is no longer looked at: the change itself made the tag old", async () => {
    const headers = { ...keyed("twice"), "if-match": await tagOf() };
    const init = { method: "DELETE", headers, body: "{}" };
    const place = "/v1/nodes/node-1?reason=twice";
    const first = await ask(rig, place, init);
    const record = peers.records.find(({ name }) => name === "node-1");
    Object.assign(record as object, { rack: "r1" });
    const again = await ask(rig, place, init);
    const other = await ask(rig, place, { ...init, headers: { ...headers, "if-match": '"x"' } });
    Object.assign(record as object, { rack: null });

    expect([first.status, again.status, again.headers.get("idempotent-replayed")]).toEqual([200, 200, "true"]);
    expect([other.status, (other.body as Problem).code]).toEqual([409, "IDEMPOTENCY_KEY_REUSED"]);
  });

  it.each([
    ["POST", "/v1/tokens", { name: "x" }],
    ["DELETE", "/v1/tokens/nobody", {}],
    ["POST", "/v1/nodes", { id: "mfrggzdfmztwq2lk", name: "n" }],
  ])("is refused rather than ignored by %s %s, which has no such object", async (method, path, body) => {
    expect((await change(path, '"x"', body, method)).said).toEqual([400, "INVALID_ARGUMENT"]);
  });

  it("of an object that is not there is 404", async () => {
    expect((await change("/v1/nodes/nobody?reason=r", "*", {}, "DELETE")).said).toEqual([404, "NODE_NOT_FOUND"]);
  });
});
