// SPDX-License-Identifier: Apache-2.0
/**
 * The writer of the audit trail on a real bus: order, the chain over restarts, lost acknowledgements, a server that is killed,
 * two writers of one identity. What ends up in the trail is judged by the offline verifier, with every signature checked.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { AuditRecord, RecordBody } from "@debvisor/proto-events/audit";
import { contractsOf } from "@debvisor/proto-events/registry";
import { type EmitterOptions, openEmitter } from "@debvisor/shared/audit/emitter";
import { writePending } from "@debvisor/shared/audit/pending-file";
import { buildRecord } from "@debvisor/shared/audit/record";
import { headerLine } from "@debvisor/shared/audit/trail-file";
import { verifyTrail } from "@debvisor/shared/audit/verify";
import type { Bus, Journal } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { systemClock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import { expect, onTestFinished, test } from "vitest";
import { type BusCluster, randomNodeId, sharedBusCluster, startBusCluster } from "../../support/bus-cluster.ts";

const shared = sharedBusCluster({ servers: 1 });

function body(ref: string, kind: RecordBody["kind"] = "intent"): RecordBody {
  return {
    kind,
    ref,
    actor: "operator",
    user: null,
    source: null,
    action: "test.write",
    mode: null,
    targets: [],
    args: { password: "hunter2" },
    reason: null,
    override: null,
    planDigest: null,
    operation: null,
    requestId: null,
    traceId: null,
    result: null,
  };
}

function emitterOn(bus: EmitterOptions["bus"], cluster = shared(), stateFile?: string) {
  const boot = randomBytes(8).toString("hex");
  return openEmitter({ bus, boot, clock: systemClock, log: cluster.log, stateFile });
}

/** Every record of the trail that an identity wrote, and the verdict on them. */
async function stored(cluster: BusCluster, user: string) {
  const reader = await cluster.connectCore("audit");
  const entries = await reader.journal("DV_AUDIT").read(user);
  const { operatorJwt, accounts } = cluster.trust;
  const [, claims = ""] = operatorJwt.split(".");
  const { sub } = JSON.parse(Buffer.from(claims, "base64url").toString()) as { sub: string };
  const named = Object.values(accounts);
  const header = { format: "debvisor-audit-trail", v: 1, cluster: "test", generation: 1, from: 1 } as const;
  const lines = [headerLine({ ...header, operator: sub, accounts: named }), ...entries.map(({ text }) => text)];
  const report = await verifyTrail(lines, { signatures: true });
  const records = entries.map(({ text }) => JSON.parse(text) as AuditRecord);
  return { report, records, refs: records.filter(({ kind }) => kind !== "start").map(({ ref }) => ref) };
}

/** A bus whose appends do as `append` says; everything else is the real one. */
function withAppend(bus: Bus, append: (real: Journal["append"]) => Journal["append"]): EmitterOptions["bus"] {
  const journal: Bus["journal"] = (stream) => {
    const real = bus.journal(stream);
    return Object.create(real, { append: { value: append(real.append.bind(real)) } }) as Journal;
  };
  return { signer: bus.signer, journal };
}

function lost(): DvError {
  return new DvError("BUS_UNAVAILABLE", "the answer was lost");
}

function temporaryFile(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "debvisor-emitter-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return path.join(folder, "state", "audit.json");
}

const parties = [
  ["a core part", (cluster: BusCluster): Promise<ConnectedBus> => cluster.connectCore("gateway")],
  ["a node", (cluster: BusCluster): Promise<ConnectedBus> => cluster.connectNode()],
] as const;

test.each(parties)("the records of %s stand in the order of the calls, after its credential", async (_, connect) => {
  const bus = await connect(shared());
  const emitter = emitterOn(bus);

  const recorded = await Promise.all(Array.from({ length: 30 }, (_unused, i) => emitter.record(body(`r${i}`))));

  const { report, records, refs } = await stored(shared(), bus.user);
  expect(report).toMatchObject({ ok: true, records: 31, findings: [], signatures: 31 });
  expect(refs).toEqual(Array.from({ length: 30 }, (_unused, i) => `r${i}`));
  expect(records[0]).toMatchObject({ kind: "start", n: 1, prev: null, cred: bus.signer.jwt });
  expect(records.slice(1).map(({ id }) => id)).toEqual(recorded.map(({ id }) => id));
  expect(records[1]?.args).toEqual({ password: "[masked]" });
});

test.each(parties)("the chain of %s goes on over a restart", async (_, connect) => {
  const bus = await connect(shared());
  for (const ref of ["first", "second", "third"]) {
    const emitter = emitterOn(bus);
    await emitter.record(body(ref));
    await emitter.stop();
  }

  const { report, records, refs } = await stored(shared(), bus.user);
  expect(report).toMatchObject({ ok: true, records: 6, findings: [] });
  expect(refs).toEqual(["first", "second", "third"]);
  expect(records.map(({ n }) => n)).toEqual([1, 2, 3, 4, 5, 6]);
});

test("an answer that was lost makes neither a second record nor a gap", async () => {
  const bus = await shared().connectCore("gateway");
  let calls = 0;
  const losing = withAppend(bus, (real) => async (...append) => {
    const seq = await real(...append);
    if (++calls % 2 === 1) throw lost();
    return seq;
  });
  const emitter = emitterOn(losing);

  const recorded = await Promise.all(["a", "b", "c"].map((ref) => emitter.record(body(ref))));

  const { report, refs } = await stored(shared(), bus.user);
  expect(report).toMatchObject({ ok: true, records: 4, findings: [] });
  expect(refs).toEqual(["a", "b", "c"]);
  expect(new Set(recorded.map(({ seq }) => seq)).size).toBe(3);
});

test("a record that was given up is settled before the next one, whether it arrived or not", async () => {
  for (const arrives of [true, false]) {
    const bus = await shared().connectCore("gateway");
    let isCut = false;
    const cutOff = withAppend(bus, (real) => async (...append) => {
      if (!isCut || arrives) await real(...append);
      if (isCut) throw lost();
      return await real(...append);
    });
    const emitter = emitterOn(cutOff);
    await emitter.record(body("before"));
    isCut = true;

    await expect(emitter.record(body("during"))).rejects.toMatchObject({ code: "AUDIT_UNAVAILABLE" });
    isCut = false;
    await emitter.record(body("after"));

    const { report, refs } = await stored(shared(), bus.user);
    expect(report).toMatchObject({ ok: true, findings: [] });
    expect(refs).toEqual(["before", "during", "after"]);
  }
});

test("the next process sends the record with which its predecessor died, once", async () => {
  for (const arrived of [true, false]) {
    const bus = await shared().connectNode();
    const stateFile = temporaryFile();
    const first = emitterOn(bus, shared(), stateFile);
    const { seq, leaf } = await first.record(body("before"));
    const { boot } = (await stored(shared(), bus.user)).records[0] as AuditRecord;
    const id = randomBytes(16).toString("hex");
    const place = { chain: { n: 2, leaf }, signer: bus.signer, id, boot, mono: 5, time: new Date().toISOString() };
    const { line } = buildRecord(body("dying"), place);
    writePending(stateFile, { id, line, n: 3, expected: seq });
    if (arrived) await bus.journal("DV_AUDIT").append(bus.user, line, { expected: seq, id });

    await emitterOn(bus, shared(), stateFile).record(body("after"));

    const { report, refs } = await stored(shared(), bus.user);
    expect(report).toMatchObject({ ok: true, findings: [] });
    expect(refs).toEqual(["before", "dying", "after"]);
    expect(JSON.parse(readFileSync(stateFile, "utf8"))).toMatchObject({ pending: { n: 5 } });
  }
});

test("a file of another content is refused at once", async () => {
  const bus = await shared().connectNode();
  const damaged = temporaryFile();
  mkdirSync(path.dirname(damaged), { recursive: true });
  writeFileSync(damaged, '{"version":1,"pen');
  expect(() => emitterOn(bus, shared(), damaged)).toThrow(expect.objectContaining({ code: "DATA_FOLDER_CORRUPT" }));
});

test("two processes of one identity never store a fork", async () => {
  const node = randomNodeId();
  const connect = async () => {
    const credential = await shared().issuer.forCore("gateway", node, contractsOf("gateway"));
    return await shared().connect({ credential, origin: "core", node: { id: node, name: "server" } });
  };
  // Each has a credential of its own, as after a renewal.
  const [one, two] = await Promise.all([connect(), connect()]);
  const emitters = [emitterOn(one), emitterOn(two)];

  const writes = emitters.flatMap((emitter, who) =>
    Array.from({ length: 25 }, (_unused, i) => emitter.record(body(`${who}-${i}`))),
  );
  const recorded = await Promise.all(writes);

  const { report, records, refs } = await stored(shared(), one.user);
  expect(report).toMatchObject({ ok: true, records: 52, findings: [] });
  expect(records.map(({ n }) => n)).toEqual(records.map((_unused, i) => i + 1));
  expect(new Set(refs).size).toBe(50);
  expect(new Set(recorded.map(({ seq }) => seq)).size).toBe(50);
  for (const who of [0, 1]) {
    const own = refs.filter((ref) => ref.startsWith(`${who}-`));
    expect(own).toEqual(Array.from({ length: 25 }, (_unused, i) => `${who}-${i}`));
  }
});

test("a server that is killed meanwhile loses no record that was acknowledged and doubles none", async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  const bus = await cluster.connectCore("gateway");
  const emitter = emitterOn(bus, cluster);
  const server = cluster.server(0);
  const good: string[] = [];
  const given: string[] = [];
  for (let i = 0; i < 120; i++) {
    const { pid } = server;
    if (i === 20 || i === 70) server.kill();
    const ref = `r${i}`;
    given.push(ref);
    await emitter.record(body(ref)).then(
      () => good.push(ref),
      (error: unknown) => expect(error).toMatchObject({ code: "AUDIT_UNAVAILABLE" }),
    );
    if (i === 20 || i === 70) await server.recovered(pid);
  }

  const { report, refs } = await stored(cluster, bus.user);
  expect(report).toMatchObject({ ok: true, findings: [] });
  expect(new Set(refs).size).toBe(refs.length);
  expect(refs.filter((ref) => good.includes(ref))).toEqual(good);
  expect(given.filter((ref) => refs.includes(ref))).toEqual(refs);
  expect(good.length).toBeGreaterThan(100);
});

test("without a bus a record fails after five seconds, and what waits is bounded", async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  const bus = await cluster.connectCore("gateway");
  const emitter = emitterOn(bus, cluster);
  await emitter.record(body("before"));
  await cluster.server(0).stop();
  const started = performance.now();

  const waiting = Array.from({ length: 1_001 }, (_unused, i) => emitter.record(body(`w${i}`)));
  const overflow = emitter.record(body("one too many"));
  await expect(overflow).rejects.toMatchObject({ code: "AUDIT_UNAVAILABLE" });
  expect(performance.now() - started).toBeLessThan(2_000);
  const results = await Promise.allSettled(waiting);
  const took = performance.now() - started;

  expect(results.every(({ status }) => status === "rejected")).toBe(true);
  expect(took).toBeGreaterThan(4_900);
  expect(took).toBeLessThan(8_000);
  await emitter.stop();
  await expect(emitter.record(body("too late"))).rejects.toMatchObject({ code: "AUDIT_UNAVAILABLE" });
});
