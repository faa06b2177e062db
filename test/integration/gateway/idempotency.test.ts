// SPDX-License-Identifier: Apache-2.0
/** Idempotency keys and rates: one effect whatever the number of gateways and repeats, and who is slowed by whom. */
import type { Problem } from "@debvisor/proto-events/replies";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { IdempotencyRecord } from "../../../services/gateway/idempotency.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { ask, keyed, type Rig, startPeers, startRig, until } from "./rig.ts";

const cluster = sharedBusCluster({ servers: 1 });
let rig: Rig;
let peers: Awaited<ReturnType<typeof startPeers>>;

beforeAll(async () => {
  peers = await startPeers(cluster(), ["node-1"]);
  rig = await startRig(cluster());
});
afterAll(() => rig?.[Symbol.asyncDispose]());

/** The stored record of one key, found by the id of the request that made it. */
async function recordOf(
  requestId: string | null,
): Promise<{ key: string; revision: number; value: IdempotencyRecord }> {
  const bucket = await rig.bus.bucket("dv_idempotency", IdempotencyRecord);
  let found: { key: string; revision: number; value: IdempotencyRecord } | undefined;
  const watch = await bucket.watch(({ entry }) => {
    if (entry?.value.requestId === requestId) found = entry;
  });
  await until(() => found !== undefined, "the record");
  await watch.stop();
  return found as NonNullable<typeof found>;
}

/** Turns the record of a finished request into what a gateway leaves behind that died while it ran. */
async function orphan(requestId: string | null, ageMs: number): Promise<void> {
  const { key, value, revision } = await recordOf(requestId);
  const bucket = await rig.bus.bucket("dv_idempotency", IdempotencyRecord);
  const startedAt = new Date(Date.now() - ageMs).toISOString();
  const dead = { ...value, state: "pending", startedAt, endedAt: null, status: null, sealed: null } as const;
  await bucket.update(key, dead, revision);
}

describe("idempotency keys", () => {
  const remove = (key: string | undefined, reason: string, bearer = rig.keys.admin.bearer, at = rig) =>
    ask(at, `/v1/nodes/node-1?reason=${reason}`, {
      method: "DELETE",
      key: bearer,
      headers: key ? { "idempotency-key": key } : {},
    });

  it("are required", async () => {
    const { status, body } = await remove(undefined, "x");
    expect([status, (body as Problem).code]).toEqual([400, "IDEMPOTENCY_KEY_MISSING"]);
  });

  it("keep a repeat from doing it again", async () => {
    const before = peers.calls.length;
    const first = await remove("same", "once");
    const second = await remove("same", "once");

    expect(peers.calls.length - before).toBe(1);
    expect(second.text).toBe(first.text);
    expect([first.headers.get("idempotent-replayed"), second.headers.get("idempotent-replayed")]).toEqual([
      null,
      "true",
    ]);
  });

  it("let one of many at the same time through", async () => {
    const before = peers.calls.length;
    const replies = await Promise.all(Array.from({ length: 20 }, () => remove("race", "race")));

    expect(peers.calls.length - before).toBe(1);
    expect(replies.every(({ status }) => status === 200 || status === 423)).toBe(true);
  });

  it("refuse another request", async () => {
    await remove("bound", "a");
    const { status, body } = await remove("bound", "b");
    expect([status, (body as Problem).code]).toEqual([409, "IDEMPOTENCY_KEY_REUSED"]);
  });

  it("of one caller mean nothing to another", async () => {
    const body = JSON.stringify({ name: "second", role: "admin" });
    const made = await ask(rig, "/v1/tokens", { method: "POST", headers: keyed(), body });
    const { secret } = made.body as { secret: string };
    await remove("shared", "a");
    expect((await remove("shared", "b", `Bearer ${secret}`)).status).toBe(200);
  });

  it("replay the secret of a new key to its maker, and store it sealed", async () => {
    const send = () =>
      ask(rig, "/v1/tokens", { method: "POST", headers: keyed("token-1"), body: JSON.stringify({ name: "sealed" }) });
    const first = (await send()).body as { secret: string };
    const second = (await send()).body as { secret: string };

    const stored: string[] = [];
    const bucket = await rig.bus.bucket("dv_idempotency", IdempotencyRecord);
    const watch = await bucket.watch(({ entry }) => void stored.push(JSON.stringify(entry ?? null)));
    await until(() => stored.some((text) => text.includes("gateway.createToken")), "the stored answer");
    await watch.stop();

    expect(second.secret).toBe(first.secret);
    expect(stored.join()).not.toContain(first.secret);
  });

  it("may be used again after a failure that is harmless to repeat", async () => {
    const before = peers.calls.length;
    const first = await remove("bug", "crash");
    await remove("bug", "crash");

    expect(first.status).toBe(500);
    expect((first.body as Problem).detail).not.toContain("a bug");
    expect(peers.calls.length - before).toBe(2);
  });

  it("let one of many through two gateways at the same time, and both know its answer", async () => {
    await using second = await rig.another();
    const before = peers.calls.length;
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, i) => remove("two", "two", undefined, i % 2 === 0 ? rig : second)),
    );
    const later = await Promise.all([rig, second].map((at) => remove("two", "two", undefined, at)));

    expect(peers.calls.length - before).toBe(1);
    expect(replies.every(({ status }) => status === 200 || status === 423)).toBe(true);
    expect(replies.filter(({ status, headers }) => status === 200 && !headers.has("idempotent-replayed"))).toHaveLength(
      1,
    );
    expect(later.map(({ headers }) => headers.get("idempotent-replayed"))).toEqual(["true", "true"]);
    expect(new Set(later.map(({ text }) => text))).toEqual(
      new Set([replies.find(({ status }) => status === 200)?.text]),
    );
  });

  it("hold over a restart of the gateway, also for a secret that was shown once", async () => {
    const init = { method: "POST", headers: keyed("restart"), body: '{"name":"restart"}' };
    const before = await rig.another();
    const first = await ask(before, "/v1/tokens", init);
    await before[Symbol.asyncDispose]();
    await using after = await rig.another();
    const again = await ask(after, "/v1/tokens", init);
    const names = ((await ask(after, "/v1/tokens?filter=name=restart")).body as { items: unknown[] }).items;

    expect([first.status, again.status]).toEqual([201, 201]);
    expect(again.text).toBe(first.text);
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    expect(names).toHaveLength(1);
  });

  it.each([
    ["wait while the operation's time is not over", 1_000, 423, "IDEMPOTENCY_IN_PROGRESS"],
    ["say that nobody knows, once it is over", 60_000, 504, "TIMEOUT"],
  ])("of a change that must not run twice and whose gateway died %s", async (title, ageMs, status, code) => {
    const init = {
      method: "POST",
      headers: keyed(`dead-${ageMs}`),
      body: JSON.stringify({ name: title.slice(0, 40) }),
    };
    const first = await ask(rig, "/v1/tokens", init);
    await orphan(first.headers.get("x-request-id"), ageMs);
    const again = await ask(rig, "/v1/tokens", init);
    const { items } = (await ask(rig, "/v1/tokens?limit=1000")).body as { items: { name: string }[] };

    expect([again.status, (again.body as Problem).code]).toEqual([status, code]);
    expect(items.filter(({ name }) => name === title.slice(0, 40))).toHaveLength(1);
  });

  it("of a change that may run twice and whose gateway died let one repeat take over", async () => {
    await orphan((await remove("taken", "taken")).headers.get("x-request-id"), 600_000);
    const before = peers.calls.length;
    const replies = await Promise.all(Array.from({ length: 8 }, () => remove("taken", "taken")));

    expect(peers.calls.length - before).toBe(1);
    expect(replies.every(({ status }) => status === 200 || status === 423)).toBe(true);
    expect((await remove("taken", "taken")).headers.get("idempotent-replayed")).toBe("true");
  });

  it("keep an outcome that nobody knows: a repeat gets the same answer and does nothing", async () => {
    const { manager, bus } = await cluster().admin();
    const { config } = await manager.streams.info("KV_dv_tokens");
    const init = { method: "POST", headers: keyed("unknown"), body: '{"name":"unknown"}' };
    await manager.streams.update("KV_dv_tokens", { ...config, max_bytes: 1 });
    const first = await ask(rig, "/v1/tokens", init);
    await manager.streams.update("KV_dv_tokens", config);
    await bus.close();
    const again = await ask(rig, "/v1/tokens", init);
    const fresh = await ask(rig, "/v1/tokens", { ...init, headers: keyed() });

    expect([first.status, (first.body as Problem).code]).toEqual([503, "BUS_UNAVAILABLE"]);
    expect((await recordOf(first.headers.get("x-request-id"))).value.state).toBe("unknown");
    expect([again.status, again.text]).toEqual([503, first.text]);
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    expect(fresh.status).toBe(201);
  });

  it("are told apart by what is asked, not by its spelling", async () => {
    const send = (body: string) => ask(rig, "/v1/tokens", { method: "POST", headers: keyed("spelling"), body });
    const first = await send('{"name":"a","role":"viewer"}');
    const same = await send('{ "name": "a" }');
    const other = await send('{"name":"b"}');

    expect([first.status, same.status, other.status]).toEqual([201, 201, 409]);
    expect(same.text).toBe(first.text);
  });
});

describe("rates", () => {
  const spend = async (at: Rig, count: number, init: Parameters<typeof ask>[2], path = "/v1/errors") => {
    const statuses: number[] = [];
    for (let i = 0; i < count; i++) statuses.push((await ask(at, path, init)).status);
    return statuses;
  };

  it("count each caller and each class by itself, and tell of it once a minute", async () => {
    const { lastSeq } = await rig.bus.eventRange();
    await using limited = await rig.another({ rates: { read: 3, change: 2, lifecycle: 1, failure: 0 } });
    const { viewer, admin } = limited.keys;
    const reads = await spend(limited, 5, { key: viewer.bearer });
    const others = await spend(limited, 2, { key: admin.bearer });
    const change = { method: "POST", body: '{"id":"mfrggzdfmztwq2lk","name":"n"}' };
    const changes: number[] = [];
    for (let i = 0; i < 3; i++) changes.push((await ask(limited, "/v1/nodes", { ...change, headers: keyed() })).status);
    const making = [201, 429].map(() =>
      ask(limited, "/v1/tokens", { method: "POST", headers: keyed(), body: '{"name":"x"}' }),
    );
    const made = await Promise.all(making);

    expect([reads, others, changes]).toEqual([
      [200, 200, 200, 429, 429],
      [200, 200],
      [201, 201, 429],
    ]);
    expect(made.map(({ status }) => status).sort()).toEqual([201, 429]);
    const events: { type: string; data: unknown }[] = [];
    const reader = await rig.bus.readEvents({
      fromSeq: lastSeq + 1,
      onEvent: ({ json }) => void events.push(JSON.parse(json)),
    });
    const told = () => events.filter(({ type }) => type === "gateway.caller.limited").map(({ data }) => data);
    await until(
      () => told().length >= 2,
      "the events",
      () => JSON.stringify(events),
    );
    await reader.stop();
    expect(told()).toEqual([
      { principal: viewer.id, rateClass: "read", limit: 3 },
      { principal: admin.id, rateClass: "change", limit: 2 },
    ]);
  });

  it("allow again after the time that was said", async () => {
    await using limited = await rig.another({ rates: { read: 60, change: 0, lifecycle: 0, failure: 0 } });
    const statuses = await Promise.all(Array.from({ length: 64 }, () => ask(limited, "/v1/errors")));
    const refused = statuses.filter(({ status }) => status === 429);
    const waitMs = Number(refused[0]?.headers.get("retry-after")) * 1_000;
    const from = Date.now();
    await until(() => Date.now() - from >= waitMs, "the time that was said");

    expect(refused.length).toBeGreaterThan(0);
    expect(waitMs).toBe(1_000);
    expect((await ask(limited, "/v1/errors")).status).toBe(200);
  });

  it("slow who guesses keys, by address, and not who has one", async () => {
    await using limited = await rig.another({ rates: { read: 0, change: 0, lifecycle: 0, failure: 4 } });
    const guesses = await spend(limited, 6, { key: `Bearer dv_adminkey_${"a".repeat(43)}` });

    expect(guesses).toEqual([401, 401, 401, 401, 429, 429]);
    expect(await spend(limited, 2, {})).toEqual([200, 200]);
  });

  it("let a refused change keep its key: nothing was done under it", async () => {
    await using limited = await rig.another({ rates: { read: 0, change: 1, lifecycle: 0, failure: 0 } });
    const before = peers.calls.length;
    const init = { method: "POST", headers: keyed("late"), body: '{"id":"mfrggzdfmztwq2lk","name":"late"}' };
    await ask(limited, "/v1/nodes", { ...init, headers: keyed() });
    const refused = await ask(limited, "/v1/nodes", init);
    const later = await ask(rig, "/v1/nodes", init);

    expect([refused.status, later.status, later.headers.get("idempotent-replayed")]).toEqual([429, 201, null]);
    expect(peers.calls.length - before).toBe(2);
  });
});
