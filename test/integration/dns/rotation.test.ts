// SPDX-License-Identifier: Apache-2.0
/** Keys of real BINDs on members, replaced: who has which, who takes which, and that nobody notices. */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { appendFileSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import type { OperationId } from "@debvisor/proto-events/primitives";
import { systemClock } from "@debvisor/shared/clock";
import { requestControl } from "@debvisor/shared/operation/control";
import { openLockTable } from "@debvisor/shared/operation/lock-table";
import { newOperationId } from "@debvisor/shared/operation/submit";
import { afterAll, test as base, beforeAll, expect } from "vitest";
import { z } from "zod";
import { createBind } from "../../../services/dns/drivers/bind.ts";
import { keyNameOf, type RotationPhase } from "../../../services/dns/model/key-ring.ts";
import { DnsStore, findServer } from "../../../services/dns/reconcilers/dns-store.ts";
import { withFreshKeys } from "../../../services/dns/reconcilers/fresh-keys.ts";
import { createNameserver } from "../../../services/node-agent/reconcilers/nameserver.ts";
import { type ManagedBind, type ManagedNamed, startManagedBind } from "../../support/bind-managed.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { rotateUnderLoad } from "../../support/rotation-load.ts";
import { waitFor } from "../../support/wait-for.ts";
import { type DnsRig, eventsOf, lacking, startDns } from "./rig.ts";

const test = base.skipIf(lacking.length > 0);
const run = promisify(execFile);
const cluster = sharedBusCluster({ servers: 1 });
let bind: ManagedBind;
let dns: DnsRig;

beforeAll(async () => {
  if (lacking.length > 0) return;
  bind = await startManagedBind(cluster());
  dns = await startDns(cluster());
  await dns.manage(bind);
});
afterAll(async () => {
  await dns?.[Symbol.asyncDispose]();
  await bind?.[Symbol.asyncDispose]();
});

/** Statement of a key as a file has it, for `dig -k`. */
function statementOf(server: ManagedNamed, name: string): string {
  const [found] = new RegExp(`^key "${name}" \\{[^}]*\\};`, "m").exec(server.keys()) ?? [];
  if (found === undefined) throw new Error(`${name} is not in the file`);
  return found;
}

/** What a server says to a signed question: `NOERROR`, or the error of its signature. */
async function signedAnswer(port: number, statement: string, type = "SOA"): Promise<string> {
  const file = path.join(cluster().dir, `key-${Math.random()}`);
  writeFileSync(file, statement, { mode: 0o600 });
  const { stdout } = await run("dig", ["-r", "-k", file, "@127.0.0.1", "-p", String(port), bind.zone, type]);
  if (/Transfer failed/.test(stdout)) return "refused";
  return /\b(BADKEY|BADSIG)\b/.exec(stdout)?.[1] ?? "NOERROR";
}

const named = (purpose: string, names: readonly string[]) => names.filter((name) => name.startsWith(`dv-${purpose}-`));

test("before there are keys, a server of a member cannot be written to", async () => {
  const changed = dns.change({ changes: [{ name: "web1", data: ["192.0.2.1"] }] });

  await expect(changed).rejects.toMatchObject({
    code: "DNS_KEY_NOT_FOUND",
    message: expect.stringContaining("rotate"),
  });
  expect(await bind.dig(bind.zone, "SOA", bind.secondary.port)).toEqual([]);
});

test("the first rotation makes a key for each purpose; the secondary gets the one for transfers", async () => {
  const done = await dns.rotate({ overlap: "0s" });

  expect([done.state, done.error]).toEqual(["succeeded", null]);
  const suffix = done.id?.slice(3);
  const [node, transfer, vm] = ["node", "transfer", "vm"].map((purpose) => `dv-${purpose}-${suffix}`);
  expect([bind.primary.names(), bind.secondary.names()]).toEqual([[node, transfer, vm], [transfer]]);
  expect([bind.primary.mode(), bind.secondary.mode()]).toEqual([0o640, 0o640]);
  expect(done.result).toMatchObject({ servers: ["ns1", "ns2"] });
  const { items } = await dns.ask("listKeys", {});
  expect(items.map(({ name, purpose, usedBy }) => [name, purpose, usedBy])).toEqual([
    [node, "node", ["ns1"]],
    [transfer, "transfer", ["ns1", "ns2"]],
    [vm, "vm", ["ns1"]],
  ]);
  expect(await dns.change({ changes: [{ name: "web1", data: ["192.0.2.1"] }] })).toMatchObject({
    state: "succeeded",
    result: { propagated: true },
  });
  expect(await dns.ask("checkServer", { server: "ns1" })).toMatchObject({ verdict: "ok" });
});

test("a rotation removes the old keys everywhere: changes and transfers by them are refused, by the new ones taken", async () => {
  const old = Object.fromEntries(bind.primary.names().map((name) => [name, statementOf(bind.primary, name)]));
  const done = await dns.rotate({ overlap: "0s" });

  expect([done.state, done.error]).toEqual(["succeeded", null]);
  for (const [name, statement] of Object.entries(old)) {
    expect(bind.primary.names()).not.toContain(name);
    expect([name, await signedAnswer(bind.primary.port, statement)]).toEqual([name, "BADKEY"]);
    expect([name, await signedAnswer(bind.secondary.port, statement)]).toEqual([name, "BADKEY"]);
  }
  const [before = ""] = named("transfer", Object.keys(old));
  const [after = ""] = named("transfer", bind.primary.names());
  expect(await signedAnswer(bind.primary.port, old[before] ?? "", "AXFR")).toBe("refused");
  expect(await signedAnswer(bind.primary.port, statementOf(bind.primary, after), "AXFR")).toBe("NOERROR");
  // The secondary copies with the new one: it hears of what is changed now.
  expect(await dns.change({ changes: [{ name: "web2", data: ["192.0.2.2"] }] })).toMatchObject({
    result: { propagated: true },
  });
  const { items } = await dns.ask("listRecords", {});
  expect(items.map(({ name }) => name)).toContain("web2.debvisor.local");
});

test("whoever read the old key before it went is not refused: what was answered BADKEY is sent again with the new one", async () => {
  const store = new DnsStore(dns.bus, dns.sealKey);
  const programs = createBind({ folder: mkdtempSync(path.join(cluster().dir, "late-")), answerMs: 2_000 });
  const fresh = withFreshKeys(programs, () => systemClock.monotonic());
  const before = await store.view();
  const endpoint = before.endpoint(findServer(before, "ns1"));
  expect((await dns.rotate({ purpose: ["node"], overlap: "0s" })).state).toBe("succeeded");
  const lines = [`update add late.${bind.zone}. 60 A 192.0.2.99`];

  await expect(programs.update(endpoint, bind.zone, lines)).rejects.toMatchObject({ code: "DNS_TSIG_BADKEY" });
  expect(await bind.dig(`late.${bind.zone}`, "A", bind.primary.port)).toEqual([]);
  expect(await fresh.update(endpoint, bind.zone, lines)).toBe(true);
  expect(await bind.dig(`late.${bind.zone}`, "A", bind.primary.port)).toEqual(["192.0.2.99"]);
  const question = { name: `late.${bind.zone}`, type: "A" };
  expect((await programs.query(endpoint, [question]))[0]?.status).toBe("NOTAUTH");
  expect((await fresh.query(endpoint, [question]))[0]?.records).toHaveLength(1);
  expect((await fresh.transfer(endpoint, bind.zone)).length).toBeGreaterThan(3);
  expect(await fresh.probe(endpoint, bind.zone)).toBeUndefined();
});

test("one purpose alone can be rotated", async () => {
  const before = bind.primary.names();
  const done = await dns.rotate({ purpose: ["transfer"], overlap: "0s" });

  expect(done.state).toBe("succeeded");
  const after = bind.primary.names();
  const kept = (names: readonly string[]) => names.filter((name) => !name.startsWith("dv-transfer-"));
  expect(kept(after)).toEqual(kept(before));
  expect(named("transfer", after)).not.toEqual(named("transfer", before));
});

test("a rotation that is cancelled during the overlap leaves the old keys working, and takes the new ones away", async () => {
  const before = [bind.primary.names(), bind.secondary.names()];
  const { id } = await dns.ask("rotateKeys", { overlap: "10m" });
  await waitFor(
    async () => bind.primary.names().length === 6 && (await dns.stepOf(id ?? "", "wait")) === "running",
    20_000,
    () => "the rotation does not wait",
  );
  const fresh = bind.primary.names().filter((name) => !before[0]?.includes(name));
  const statements = fresh.map((name) => statementOf(bind.primary, name));
  const locks = await openLockTable({ bus: dns.bus, clock: systemClock, log: cluster().log, isLive: async () => true });
  const journal = dns.bus.journal("DV_OPS");
  await requestControl({ journal, clock: systemClock, locks }, id ?? "", "cancel", {
    ...{ by: "tester", user: null, reason: null },
  });
  await locks.stop();
  const done = await dns.ended(id ?? "");

  expect(done.state).toBe("cancelled");
  expect([bind.primary.names(), bind.secondary.names()]).toEqual(before);
  for (const statement of statements) expect(await signedAnswer(bind.primary.port, statement)).toBe("BADKEY");
  expect((await dns.ask("listKeys", {})).items.map(({ name }) => name)).toEqual(before[0]);
  expect((await dns.change({ changes: [{ name: "web3", data: ["192.0.2.3"] }] })).state).toBe("succeeded");
});

test("one rotation runs at a time; the next one waits, if it is told to", async () => {
  const { id } = await dns.ask("rotateKeys", { purpose: ["vm"], overlap: "1s" });
  const refused = await dns.rotate({ purpose: ["vm"], overlap: "0s" }).catch((error: unknown) => error);
  const waiting = await dns.rotate({ purpose: ["vm"], overlap: "0s", wait: "1m" });

  expect(refused).toMatchObject({ code: "LOCK_HELD" });
  expect([(await dns.ended(id ?? "")).state, waiting.state, waiting.error]).toEqual(["succeeded", "succeeded", null]);
  expect(named("vm", bind.primary.names())).toEqual([`dv-vm-${waiting.id?.slice(3)}`]);
});

test("a rotation that was given up is taken over by the next one, and one that was removing is finished by it", async () => {
  const store = new DnsStore(dns.bus, dns.sealKey);
  const by = { actor: "tester", at: new Date().toISOString() };
  const make = (name: string) => ({ name, algorithm: "hmac-sha256", secret: randomBytes(32).toString("base64") });
  const left = async (phase: RotationPhase) => {
    const { ring } = await store.view();
    const operation = newOperationId() as OperationId;
    const rotation = { operation, phase, next: { vm: keyNameOf("vm", operation) }, switchedAt: null };
    await store.changeRing(() => ({ kind: "write", ring: { ...ring, rotation } }), make, by);
    return rotation.next.vm;
  };
  const given = await left("switched");
  const over = await dns.rotate({ purpose: ["vm"], overlap: "0s" });
  const keys = (await dns.ask("listKeys", {})).items.map(({ name }) => name);
  const broken = await left("removing");
  const finished = await dns.rotate({ overlap: "0s" });

  expect([over.state, finished.state]).toEqual(["succeeded", "succeeded"]);
  expect(keys).not.toContain(given);
  expect(finished.steps.map(({ id }) => id)).toEqual(["remove"]);
  expect(named("vm", bind.primary.names())).toEqual([broken]);
  expect((await store.view()).ring.rotation).toBeNull();
});

test.each([
  ["a node is away when the overlap ends", "wait", () => bind.secondary.stopNode(), () => bind.secondary.startNode()],
  ["BIND is down for the removal", "remove", () => bind.secondary.named.stop(), () => bind.secondary.named.start()],
])("a rotation goes on, and nothing is undone, after %s", async (_what, stopsAt, stop, start) => {
  const old = bind.secondary.names();
  const { id } = await dns.ask("rotateKeys", { purpose: ["transfer"], overlap: "1s" });
  const running = (step: string) =>
    waitFor(
      async () => (await dns.stepOf(id ?? "", step)) === "running",
      20_000,
      () => `${step} does not run`,
    );
  await running("wait");
  await stop();
  await running(stopsAt);
  await systemClock.sleep(2_000);
  const between = await dns.stepOf(id ?? "", stopsAt);
  await start();
  const done = await dns.ended(id ?? "");

  expect([between, done.state, done.error]).toEqual(["running", "succeeded", null]);
  expect(bind.secondary.names()).not.toEqual(old);
  expect(bind.secondary.names()).toEqual(named("transfer", bind.primary.names()));
});

test("a server that does not take part refuses the rotation by name, and nothing is changed", async () => {
  const before = [bind.primary.keys(), bind.secondary.keys()];
  await bind.secondary.stopNode();
  const refused = await dns.rotate({ overlap: "0s" }).catch((error: unknown) => error);
  await bind.secondary.startNode();

  expect(refused).toMatchObject({
    code: "CHECK_FAILED",
    message: expect.stringContaining("ns2: it does not take part (UNAVAILABLE)"),
  });
  expect([bind.primary.keys(), bind.secondary.keys()]).toEqual(before);
});

test("a file that BIND refuses is put back as it was", async () => {
  const { file, named: server } = bind.primary;
  const before = bind.primary.keys();
  const config = path.join(path.dirname(file), "named.conf");
  const good = readFileSync(config, "utf8");
  const rndc = ["rndc", "-c", path.join(path.dirname(file), "rndc.conf")];
  const nameserver = createNameserver({ root: "/", ownDir: "/nowhere", file, rndc, config: "/nowhere" });
  const wanted = { keys: [], acls: [], lists: [] };
  appendFileSync(config, 'zone "broken" { type nonsense; };\n');

  await expect(nameserver.set(wanted)).rejects.toMatchObject({ code: "TOOL_FAILED" });
  const after = bind.primary.keys();
  const refused = await dns.ask("rotateKeys", { mode: "check" }).catch((error: unknown) => error);
  writeFileSync(config, good);

  expect(after).toBe(before);
  expect(server.log()).toContain("nonsense");
  expect(refused).toMatchObject({ code: "CHECK_FAILED", message: expect.stringContaining("named-checkconf") });
});

test("changes while keys rotate: none refused, none lost", { timeout: 60_000 }, async () => {
  const found = await rotateUnderLoad({
    ...{ updates: 40, rotations: 3, clients: 3 },
    change: (name, address) => dns.change({ changes: [{ name, data: [address] }] }),
    rotate: () => dns.rotate({ overlap: "0s" }),
  });

  expect(found.rotations).toEqual(["succeeded", "succeeded", "succeeded"]);
  expect(found.failed).toEqual([]);
  expect(found.during).toBeGreaterThan(10);
  for (const [name, address] of found.wanted)
    expect(await bind.dig(`${name}.${bind.zone}`, "A", bind.primary.port)).toEqual([address]);
});

test("no secret is in an answer, an event, the log of operations, the trail or a log", async () => {
  const secrets = [...bind.primary.keys().matchAll(/secret "([^"]+)"/g)].map(([, secret = ""]) => secret);
  const answers = JSON.stringify([await dns.ask("listKeys", {}), await dns.ask("listServers", {})]);
  const entries = JSON.stringify(await (await dns.bus.bucket("dv_dns", z.unknown())).list());
  const events = await eventsOf(await cluster().connectCore("gateway"));
  const operations: unknown[] = [];
  const reader = await dns.bus
    .journal("DV_OPS")
    .follow({ fromSeq: 1, onEntry: (entry) => void operations.push(entry) });
  await waitFor(
    async () => operations.length > 100,
    10_000,
    () => `${operations.length} records`,
  );
  await reader.stop();

  expect(secrets).toHaveLength(3);
  expect(events).toContain("dns.key.rotated");
  expect(JSON.stringify(operations)).toContain("dns.rotate-keys");
  for (const text of [answers, entries, events, JSON.stringify(operations)])
    for (const secret of secrets) expect(text.includes(secret)).toBe(false);
});
