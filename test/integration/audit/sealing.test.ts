// SPDX-License-Identifier: Apache-2.0
/** Sealing on a bus of three servers: witnesses, a fork, a rolled-back stream, a sealer that dies, an export. */
import { readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { auditContract } from "@debvisor/proto-events/audit";
import type { Output } from "@debvisor/proto-events/kit";
import { signCheckpoint } from "@debvisor/shared/audit/checkpoint";
import { openEmitter } from "@debvisor/shared/audit/emitter";
import { leafHash, verifyInclusion } from "@debvisor/shared/audit/merkle";
import { mergeLines } from "@debvisor/shared/audit/trail-file";
import { verifyTrail } from "@debvisor/shared/audit/verify";
import { ensureStreams } from "@debvisor/shared/bus/admin";
import type { Bus } from "@debvisor/shared/bus/bus";
import { systemClock } from "@debvisor/shared/clock";
import { expect, onTestFinished, test } from "vitest";
import { type BusCluster, startBusCluster } from "../../support/bus-cluster.ts";
import { waitFor } from "../../support/wait-for.ts";
import { type AuditNode, anchorOf, asker, body, CLUSTER, recordEvents, scribe, seal, startAudit } from "./rig.ts";

const order = { operation: "audit-seal", step: "s", direction: "do", epoch: 0, resource: null, fence: null } as const;

const startThree = async (cluster: BusCluster): Promise<AuditNode[]> =>
  Promise.all([startAudit(cluster), startAudit(cluster), startAudit(cluster)]);

/** Waits until everything is sealed, at least up to a record: any server answers, and one may lag behind. */
async function sealedAll(bus: Bus, witnesses: number, patienceMs = 20_000, atLeast = 1) {
  let last = await seal(bus);
  const isSealed = async () => {
    last = await seal(bus);
    return last.records >= atLeast && last.unsealed === 0 && last.witnesses >= witnesses;
  };
  await waitFor(isSealed, patienceMs, () => `everything is sealed: ${JSON.stringify(last)}`);
  return last;
}

/** Takes a stream's files away from the only server, as somebody with access to its disk can, and has it made anew. */
async function loseStream(cluster: BusCluster, stream: string): Promise<void> {
  const server = cluster.server(0);
  await server.stop();
  const names = readdirSync(cluster.dir, { recursive: true, encoding: "utf8" });
  const folders = names.filter((name) => path.basename(name) === stream);
  expect(folders).toHaveLength(1);
  for (const folder of folders) rmSync(path.join(cluster.dir, folder), { recursive: true });
  await server.start();
  const { manager, bus } = await cluster.admin();
  await ensureStreams(manager);
  await bus.close();
}

/** Everything that `readTrail` gives, in parts of 50. */
async function exported(bus: Bus): Promise<string[]> {
  const lines: string[] = [];
  for (let from: number | null = 1; from !== null; ) {
    const part: Output<typeof auditContract, "readTrail"> = await bus.request("core", auditContract, "readTrail", {
      from,
      limit: 50,
    });
    if (from === 1) lines.push(part.header);
    lines.push(...mergeLines(from, part.records, part.checkpoints));
    from = part.next;
  }
  return lines;
}

test("records are sealed with two witnesses, proved, and verified elsewhere", { timeout: 90_000 }, async () => {
  await using cluster = await startBusCluster({ servers: 3 });
  const events = await recordEvents(cluster);
  await startThree(cluster);
  const [a, b, bus] = [await scribe(cluster), await scribe(cluster), await asker(cluster)];
  for (let n = 0; n < 60; n++) await (n % 2 ? a : b).write({ targets: [`node-${n}`] });

  const { sealed, alarms } = await sealedAll(bus, 2, 20_000, 62);
  expect(alarms).toEqual([]);
  expect(new Set(sealed?.witnesses.map(({ witness }) => witness)).size).toBe(2);
  await waitFor(
    () => events.some(({ type }) => type === "audit.checkpoint.sealed"),
    5_000,
    () => "the checkpoint is announced",
  );

  const proof = await bus.request("core", auditContract, "proveRecord", { seq: 7 });
  const { size, root } = proof.sealed.checkpoint;
  expect(verifyInclusion({ index: 6, size, root, leaf: leafHash(proof.record), path: proof.path })).toBe(true);
  await sealedAll(bus, 2);

  const report = await verifyTrail(await exported(bus), { signatures: true, operator: anchorOf(cluster).operator });
  expect(report).toMatchObject({ ok: true, cluster: CLUSTER, findings: [] });
  expect(report.records).toBeGreaterThan(62);
  expect(report.checkpoints).toBeGreaterThan(0);
  expect(report.witnesses).toHaveLength(2);
});

test("a witness refuses a fork and a smaller tree, also after its restart, and says so", {
  timeout: 90_000,
}, async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  const server = await startAudit(cluster);
  const witness = await startAudit(cluster, { isServer: false });
  const events = await recordEvents(cluster);
  const writer = await scribe(cluster);
  const bus = await asker(cluster);
  for (let n = 0; n < 10; n++) await writer.write();
  const { sealed } = await sealedAll(bus, 1);
  if (!sealed || !server.bus) throw new Error("nothing is sealed");
  const { size, root } = sealed.checkpoint;
  const ask = (more: { size: number; root: string }, since: { size: number; path: string[] } | null) => {
    const head = { cluster: CLUSTER, generation: 1, time: new Date().toISOString(), ...more };
    const checkpoint = signCheckpoint(head, (server.bus as Bus).signer);
    return (server.bus as Bus).command(witness.id, auditContract, "cosignCheckpoint", { checkpoint, since }, order);
  };
  const refused = expect.objectContaining({ code: "WITNESS_REFUSED" });
  const forged = "0".repeat(64);

  expect(await ask({ size: size + 1, root: forged }, null)).toEqual({ cosignature: null, lastSize: size });
  await expect(ask({ size: size + 1, root: forged }, { size, path: [forged] })).rejects.toThrow(refused);
  await expect(ask({ size, root: forged }, null)).rejects.toThrow(refused);
  await expect(ask({ size: size - 1, root: forged }, null)).rejects.toThrow(refused);
  expect((await ask({ size, root }, null)).cosignature?.witness).toBe(witness.id);
  await waitFor(
    () => events.some(({ json }) => json.includes("do not continue")),
    10_000,
    () => "the fork is an event",
  );

  await witness.running.stop();
  await startAudit(cluster, { isServer: false, id: witness.id, stateDir: witness.stateDir });
  await expect(ask({ size, root: forged }, null)).rejects.toThrow(refused);
});

test("a checkpoint by somebody who is no sealer is not cosigned", { timeout: 60_000 }, async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  const server = await startAudit(cluster);
  const witness = await startAudit(cluster, { isServer: false });
  const other = await cluster.connectCore("discovery");
  const head = { cluster: CLUSTER, generation: 1, size: 1, root: "0".repeat(64), time: new Date().toISOString() };
  const send = (checkpoint: ReturnType<typeof signCheckpoint>) =>
    server.bus?.command(witness.id, auditContract, "cosignCheckpoint", { checkpoint, since: null }, order);
  if (!server.bus) throw new Error("there is no server");
  const { signer } = server.bus;

  for (const bad of [
    signCheckpoint(head, other.signer),
    { ...signCheckpoint(head, signer), size: 2 },
    signCheckpoint({ ...head, cluster: "another" }, signer),
    signCheckpoint({ ...head, generation: 2 }, signer),
  ]) {
    await expect(send(bad)).rejects.toThrow(expect.objectContaining({ code: "WITNESS_REFUSED" }));
  }
});

test("when the sealer's connection is gone another server seals", { timeout: 150_000 }, async () => {
  await using cluster = await startBusCluster({ servers: 3 });
  const nodes = await startThree(cluster);
  const writer = await scribe(cluster);
  const bus = await asker(cluster);
  await writer.write();
  const first = (await sealedAll(bus, 2)).sealed?.checkpoint.sealer;
  const sealer = nodes.find(({ bus: core }) => core?.user === first);
  if (!sealer?.bus) throw new Error(`no server is ${first}`);

  const startedAt = performance.now();
  await sealer.bus.connection.close();
  const written = await writer.write();
  const next = await sealedAll(bus, 1, 60_000, written);

  expect(performance.now() - startedAt).toBeLessThan(60_000);
  expect(next.sealed?.checkpoint.sealer).not.toBe(first);
  expect(next.alarms).toEqual([]);
});

test("brokers that die one after the other raise no alarm, and nothing stays unsealed", {
  timeout: 150_000,
}, async () => {
  await using cluster = await startBusCluster({ servers: 3 });
  await startThree(cluster);
  const bus = await asker(cluster);
  const writer = openEmitter({ bus, boot: "boot", clock: systemClock, log: cluster.log });
  onTestFinished(() => writer.stop());
  let isOver = false;
  let written = 0;
  const writing = (async () => {
    while (!isOver) {
      await writer.record(body()).then(
        () => written++,
        () => undefined,
      );
    }
  })();
  for (const server of cluster.servers) {
    const { pid } = server;
    const before = written;
    server.kill();
    await server.recovered(pid);
    await waitFor(
      () => written > before + 20,
      30_000,
      () => `records are written again: ${written}`,
    );
  }
  isOver = true;
  await writing;

  expect((await sealedAll(bus, 2, 30_000)).alarms).toEqual([]);
  expect((await verifyTrail(await exported(bus), { signatures: true })).findings).toEqual([]);
});

test("a stream that is deleted and made anew raises the alarm, and is not sealed, also after a restart", {
  timeout: 120_000,
}, async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  const events = await recordEvents(cluster);
  const server = await startAudit(cluster);
  const writer = await scribe(cluster);
  const bus = await asker(cluster);
  for (let n = 0; n < 10; n++) await writer.write();
  const before = await sealedAll(bus, 0);
  expect(before.sealed?.witnesses).toEqual([]);
  expect(before.notes.join()).toContain("0 of 2 witnesses");

  await loseStream(cluster, "DV_AUDIT");
  const startedAt = performance.now();
  await waitFor(
    () => events.some(({ type, json }) => type === "audit.chain.broken" && json.includes("rollback")),
    30_000,
    () => "the alarm is an event",
  );
  expect(performance.now() - startedAt).toBeLessThan(60_000);
  const other = await scribe(cluster);
  for (let n = 0; n < 20; n++) await other.write();
  expect((await seal(bus)).alarms.join()).toContain("ROLLBACK");

  await server.running.stop();
  const again = await startAudit(cluster, { stateDir: server.stateDir });
  await waitFor(
    async () => (await seal(bus)).alarms.join().includes("ROLLBACK"),
    10_000,
    () => "the alarm is there again",
  );
  await again.running.stop();
  await startAudit(cluster);
  await waitFor(
    async () => (await seal(bus)).alarms.join().includes("ROLLBACK"),
    10_000,
    () => "a server without memory finds it by the checkpoints",
  );
  expect((await seal(bus)).sealed?.checkpoint.size).toBe(before.sealed?.checkpoint.size);
});
