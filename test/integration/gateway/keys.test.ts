// SPDX-License-Identifier: Apache-2.0
/** API keys over a real bus: who may do what, how keys are made and revoked, and what is recorded of every caller. */
import { randomUUID } from "node:crypto";
import { roleOf } from "@debvisor/proto-events/kit";
import { allOperations } from "@debvisor/proto-events/registry";
import type { Problem } from "@debvisor/proto-events/replies";
import type { StoredEvent } from "@debvisor/shared/bus/bus";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { ask, keyed, type Rig, startPeers, startRig, until } from "./rig.ts";

const cluster = sharedBusCluster({ servers: 1 });
let rig: Rig;

beforeAll(async () => {
  await startPeers(cluster(), ["node-1", "node-2", "node-10"]);
  rig = await startRig(cluster());
});
afterAll(() => rig?.[Symbol.asyncDispose]());

describe("keys", () => {
  it.each([
    ["none", ""],
    ["another scheme", "Basic abc"],
    ["an unknown one", `Bearer dv_nobody_${"a".repeat(43)}`],
    ["a wrong secret", `Bearer dv_adminkey_${"a".repeat(43)}`],
  ])("refuse %s with 401", async (_title, key) => {
    const { status, body, headers } = await ask(rig, "/v1/nodes", { key });

    expect([status, (body as Problem).code]).toEqual([401, "UNAUTHENTICATED"]);
    expect(headers.get("www-authenticate")).toContain("Bearer");
  });

  it.each(
    allOperations()
      .filter(({ spec }) => spec.http)
      .map((operation) => [`${operation.service}.${operation.name}`, operation] as const),
  )("decide %s by role", async (_title, { spec }) => {
    const path = (spec.http?.path ?? "").replace(/\{[^}]+\}/g, "nobody");
    const method = spec.http?.method ?? "GET";
    const statusFor = async (key: string) =>
      (
        await ask(rig, path, {
          method,
          key,
          headers: method === "GET" ? {} : { "content-type": "application/json" },
          ...(method === "GET" ? {} : { body: "{}" }),
        })
      ).status;
    const roles = ["viewer", "operator", "admin"] as const;
    const allowed = roles.map((_role, i) => i >= roles.indexOf(roleOf(spec)));

    const statuses = await Promise.all(
      [rig.keys.viewer, rig.keys.operator, rig.keys.admin].map(({ bearer }) => statusFor(bearer)),
    );

    expect(statuses.map((status) => status !== 403)).toEqual(allowed);
  });

  it("made by the API work at once, and stop working when they are revoked", async () => {
    const made = await ask(rig, "/v1/tokens", {
      method: "POST",
      headers: keyed(),
      body: JSON.stringify({ name: "ci", role: "viewer", scopes: ["discovery:*"] }),
    });
    const { token, secret } = made.body as { token: { id: string }; secret: string };
    const key = `Bearer ${secret}`;
    await using second = await rig.another();

    expect(made.status).toBe(201);
    expect((await ask(rig, "/v1/nodes", { key })).status).toBe(200);
    expect((await ask(rig, "/v1/status", { key })).status).toBe(403);
    await until(
      async () => (await ask(second, "/v1/nodes", { key })).status === 200,
      "the other gateway to know the key",
    );
    const revoked = await ask(second, `/v1/tokens/${token.id}`, {
      method: "DELETE",
      headers: { "idempotency-key": "r1" },
    });
    expect(revoked.status).toBe(200);
    await until(async () => (await ask(rig, "/v1/nodes", { key })).status === 401, "the revocation");
    expect(JSON.stringify((await ask(rig, "/v1/tokens")).body)).not.toContain("hash");
  });

  it("cannot be made wider than the maker's", async () => {
    const narrow = await ask(rig, "/v1/tokens", {
      method: "POST",
      headers: keyed(),
      body: JSON.stringify({ name: "maker", role: "admin", scopes: ["gateway:*"] }),
    });
    const key = `Bearer ${(narrow.body as { secret: string }).secret}`;

    const { status, body } = await ask(rig, "/v1/tokens", {
      method: "POST",
      key,
      headers: keyed(),
      body: JSON.stringify({ name: "wide", role: "admin" }),
    });

    expect([status, (body as Problem).code]).toEqual([403, "TOKEN_SCOPE_TOO_WIDE"]);
  });
});

describe("records", () => {
  it("of calls, refusals and failed sign-ins are events in order", async () => {
    const { lastSeq } = await rig.bus.eventRange();
    const remove = (query: string, key = rig.keys.admin.bearer) =>
      ask(rig, `/v1/nodes/node-2${query}`, { method: "DELETE", headers: { "idempotency-key": randomUUID() }, key });
    await remove("?reason=r");
    await remove("");
    await remove("?reason=r", rig.keys.viewer.bearer);
    await Promise.all(Array.from({ length: 30 }, () => ask(rig, "/v1/nodes", { key: "" })));

    const seen: { type: string; data: Record<string, unknown> }[] = [];
    const reader = await rig.bus.readEvents({
      fromSeq: lastSeq + 1,
      onEvent: (event: StoredEvent) => void seen.push(JSON.parse(event.json)),
    });
    const failures = () =>
      seen
        .filter(({ type }) => type === "gateway.auth.failed")
        .reduce((sum, { data }) => sum + Number(data["count"]), 0);
    await until(
      () => failures() >= 30,
      "the failed sign-ins",
      () => JSON.stringify(seen),
    );
    await reader.stop();

    const records = seen
      .filter(({ type, data }) => type === "gateway.call.recorded" && data["operation"] === "discovery.deleteNode")
      .map(({ data }) => [data["status"], data["code"]]);
    expect(records).toEqual([
      [200, null],
      [400, "INVALID_ARGUMENT"],
      [403, "PERMISSION_DENIED"],
    ]);
    expect(seen.some(({ type }) => type === "gateway.call.denied")).toBe(true);
    expect(seen.filter(({ type }) => type === "gateway.auth.failed").length).toBeLessThanOrEqual(10);
  });
});
