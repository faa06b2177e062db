// SPDX-License-Identifier: Apache-2.0
/** Questions about the trail, orphans and damage, on one server. */
import { auditContract } from "@debvisor/proto-events/audit";
import type { Input } from "@debvisor/proto-events/kit";
import { verifyTrail } from "@debvisor/shared/audit/verify";
import { expect, test } from "vitest";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";
import { waitFor } from "../../support/wait-for.ts";
import { asker, connectAudit, recordEvents, Scribe, scribe, seal, startAudit } from "./rig.ts";

const cluster = sharedBusCluster({ servers: 1 });

type Query = Partial<Input<typeof auditContract, "listRecords">>;

async function start() {
  await startAudit(cluster());
  const bus = await asker(cluster());
  const list = (query: Query, actor = "auditor") => bus.request("core", auditContract, "listRecords", query, { actor });
  return { bus, list, writer: await scribe(cluster(), randomService()) };
}

/** A service name that no other test writes under. */
let used = 0;
const SERVICES = ["discovery", "gateway", "node-agent"];
const randomService = () => SERVICES[used++ % SERVICES.length] ?? "discovery";

const operationId = () => `op-${randomNodeId().slice(0, 13)}`;

test("records are listed newest first, filtered, and page by page", { timeout: 60_000 }, async () => {
  const { list, writer } = await start();
  const actor = `lister-${randomNodeId()}`;
  for (let n = 1; n <= 9; n++) {
    const status = n % 3 === 0 ? "failed" : "ok";
    const result = { status, code: null, exitCode: n % 3 === 0 ? 5 : 0, message: null } as const;
    await writer.write({ actor, action: n > 6 ? "other.thing" : "test.do-it", targets: [`node-${n}`], result });
  }

  const all = await list({ actor });
  expect(all.items.map(({ targets }) => targets[0])).toEqual([9, 8, 7, 6, 5, 4, 3, 2, 1].map((n) => `node-${n}`));
  expect((await list({ actor, action: "other.*" })).items).toHaveLength(3);
  expect((await list({ actor, result: "failed" })).items).toHaveLength(3);
  expect((await list({ actor, node: "node-4" })).items).toHaveLength(1);
  expect((await list({ actor, since: "1h" })).items).toHaveLength(9);
  expect((await list({ actor, until: "2020-01-01T00:00:00Z" })).items).toHaveLength(0);
  await expect(list({ actor, since: "soon" })).rejects.toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));

  const first = await list({ actor, limit: 4 });
  const second = await list({ actor, limit: 4, before: first.nextBefore ?? 0 });
  const third = await list({ actor, limit: 4, before: second.nextBefore ?? 0 });
  expect([...first.items, ...second.items, ...third.items]).toEqual(all.items);
  expect(third.nextBefore).toBeNull();
});

test("reading is recorded with reader and filter, before the answer", { timeout: 60_000 }, async () => {
  const { bus, list } = await start();
  const reader = `reader-${randomNodeId()}`;

  await list({ actor: "nobody", limit: 5 }, reader);
  await bus.request("core", auditContract, "readTrail", { from: 1, limit: 1 }, { actor: reader });
  await bus.request("core", auditContract, "proveRecord", { seq: 999_999 }, { actor: reader }).catch(() => undefined);
  const { items } = await list({ actor: reader, kind: "read" });

  expect(items.map(({ action }) => action)).toEqual(["audit.prove-record", "audit.read-trail", "audit.list-records"]);
  expect(items[2]?.args).toMatchObject({ actor: "nobody", limit: 5 });
});

test("a follow gives each record once, in order, and is itself recorded once", { timeout: 60_000 }, async () => {
  const { list, writer } = await start();
  const actor = `followed-${randomNodeId()}`;
  const follower = `follower-${randomNodeId()}`;
  let { lastSeq: after } = await list({ limit: 1 });
  const seen: string[] = [];
  let asked = 0;
  const follow = async () => {
    while (seen.length < 20) {
      const answer = await list({ actor, after, seconds: 5 }, follower);
      seen.push(...answer.items.map(({ targets }) => targets[0] ?? ""));
      after = answer.lastSeq;
      asked++;
    }
  };
  const write = async () => {
    for (let n = 0; n < 20; n++) await writer.write({ actor, targets: [`t-${n}`] });
  };

  await Promise.all([follow(), write()]);

  expect(seen).toEqual(Array.from({ length: 20 }, (_, n) => `t-${n}`));
  expect((await list({ actor: follower, kind: "read" })).items).toHaveLength(1);
  const quiet = performance.now();
  expect((await list({ actor, after, seconds: 1 }, follower)).items).toEqual([]);
  expect(performance.now() - quiet).toBeGreaterThan(900);
  expect(asked).toBeGreaterThan(0);
});

test("intents whose author is gone are closed, those of running operations are not", { timeout: 60_000 }, async () => {
  const events = await recordEvents(cluster());
  const { list, writer } = await start();
  const log = (await cluster().connectCore("node-agent")).journal("DV_OPS");
  const logged = async (id: string, records: object[]) => {
    let expected = 0;
    for (const record of records) {
      expected = await log.append(id, JSON.stringify(record), { expected, id: randomNodeId() + randomNodeId() });
    }
  };
  const [request, none, lives, ended, done] = ["r-1", operationId(), operationId(), operationId(), operationId()];
  await logged(lives, [{ t: "created" }, { t: "claim" }]);
  const error = { code: "STEP_FAILED", kind: "operation-failed", message: "no" };
  await logged(ended, [{ t: "created" }, { t: "end", state: "failed", error, changed: true }]);
  for (const ref of [request, none, lives, ended, done]) {
    const operation = ref.startsWith("op-") ? ref : null;
    await writer.write({ kind: "intent", ref, operation, action: "test.change", targets: ["node-1"] });
  }
  await writer.write({ kind: "outcome", ref: done, operation: done });
  const outcomes = async (ref: string) =>
    (await list({ ref, kind: "outcome" })).items.map(({ result }) => [result?.status, result?.code]);

  for (const ref of [request, none]) {
    await waitFor(
      async () => (await outcomes(ref)).length > 0,
      20_000,
      () => `${ref} is closed`,
    );
  }
  await waitFor(
    async () => (await outcomes(ended)).length > 0,
    20_000,
    () => "the ended one is closed",
  );
  expect(await outcomes(request)).toEqual([["unknown", null]]);
  expect(await outcomes(none)).toEqual([["unknown", null]]);
  expect(await outcomes(ended)).toEqual([["failed", "STEP_FAILED"]]);
  expect(await outcomes(done)).toEqual([["ok", null]]);
  expect(await outcomes(lives)).toEqual([]);
  const orphaned = () =>
    events.filter(({ type }) => type === "audit.intent.orphaned").map(({ json }) => JSON.parse(json).data.ref);
  await waitFor(
    () => orphaned().length >= 2,
    5_000,
    () => "both orphans are events",
  );
  expect(orphaned().sort()).toEqual([none, request].sort());
});

test("old records are read from the stream when memory does not hold them any more", { timeout: 120_000 }, async () => {
  const { bus, list, writer } = await start();
  const actor = `old-${randomNodeId()}`;
  const first = await writer.write({ actor });
  const bulk = Object.fromEntries(Array.from({ length: 11 }, (_, n) => [`f${n}`, "x".repeat(1_900)]));
  for (let n = 0; n < 850; n++) await writer.write({ args: bulk, action: "test.bulk" });

  expect((await list({ actor })).items.map(({ seq }) => seq)).toEqual([first]);
  expect((await list({ actor, after: first - 1 })).items.map(({ seq }) => seq)).toEqual([first]);
  const part = await bus.request("core", auditContract, "readTrail", { from: first, limit: 100 });
  expect(part.records[0]).toContain(actor);
  expect(part.records.length).toBeLessThan(100);
  expect(part.next).toBe(first + part.records.length);
  const tail = await list({ action: "test.bulk", limit: 1000 });
  expect(tail.items.length).toBeGreaterThan(10);
  expect(tail.nextBefore).not.toBeNull();
});

test("an export that begins later verifies as well", { timeout: 60_000 }, async () => {
  const { bus, writer } = await start();
  for (let n = 0; n < 5; n++) await writer.write();
  const from = (await seal(bus)).records - 2;
  const part = await bus.request("core", auditContract, "readTrail", { from, limit: 500 });

  const report = await verifyTrail([part.header, ...part.records], { signatures: true });

  expect(report).toMatchObject({ ok: true, from, findings: [] });
});

test("damage that an emitter does raises an alarm and an event once, and sealing goes on", {
  timeout: 60_000,
}, async () => {
  const { bus } = await start();
  const events = await recordEvents(cluster());
  const broken = () =>
    events.filter(({ type }) => type === "audit.chain.broken").map(({ json }) => JSON.parse(json).data.cause as string);
  const nonsense = await scribe(cluster(), "discovery");
  await nonsense.scribble('{"no":"record"}');
  const forgetful = await scribe(cluster(), "discovery");
  await forgetful.write();
  forgetful.loseChain();
  await forgetful.write();
  const honest = await connectAudit(cluster(), randomNodeId());
  const liar = new Scribe({
    ...honest,
    user: honest.user,
    journal: (stream) => honest.journal(stream),
    signer: { ...honest.signer, sign: () => new Uint8Array(64) },
  });
  await liar.write();

  await waitFor(
    () => broken().length >= 4,
    10_000,
    () => `every break is an event: ${broken().join()}`,
  );
  expect(broken().sort()).toEqual(["chain", "malformed", "signature", "signature"]);
  const alarms = (await seal(bus)).alarms.join("\n");
  for (const cause of ["CHAIN", "MALFORMED", "SIGNATURE"]) expect(alarms).toContain(cause);
  await waitFor(
    async () => (await seal(bus)).unsealed === 0,
    10_000,
    () => "everything is sealed all the same",
  );
});
