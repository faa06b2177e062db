// SPDX-License-Identifier: Apache-2.0
/** Servers and keys on a real BIND: what a probe finds, by name, and that a secret is nowhere but sealed. */
import { mkdtempSync, readdirSync } from "node:fs";
import path from "node:path";
import { systemClock } from "@debvisor/shared/clock";
import { afterAll, test as base, beforeAll, expect } from "vitest";
import { z } from "zod";
import { createBind } from "../../../services/dns/drivers/bind.ts";
import { NO_KEYS } from "../../../services/dns/model/key-ring.ts";
import { checkKeyHandler } from "../../../services/dns/operations/check-key.ts";
import { checkServerHandler } from "../../../services/dns/operations/servers.ts";
import { DNS_ENTRY, DnsEntry, DnsStore } from "../../../services/dns/reconcilers/dns-store.ts";
import { startBind, type TestBind } from "../../support/bind.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { type DnsRig, eventsOf, lacking, startDns } from "./rig.ts";

const test = base.skipIf(lacking.length > 0);
const cluster = sharedBusCluster({ servers: 1 });
const HOUR_MS = 3_600_000;
let bind: TestBind;
let dns: DnsRig;

beforeAll(async () => {
  if (lacking.length > 0) return;
  bind = await startBind({ zones: ["debvisor.local"] });
  dns = await startDns(cluster());
  await dns.ask("setKey", { key: "dv-key", secret: bind.key.secret });
});
afterAll(async () => {
  await dns?.[Symbol.asyncDispose]();
  await bind?.[Symbol.asyncDispose]();
});

/** Names a server for the length of one check. */
async function check(more: Record<string, unknown>) {
  const server = { server: "probe", address: "127.0.0.1", port: bind.primary.port, key: "dv-key", ...more };
  await dns.ask("setServer", { zone: ["debvisor.local"], ...server } as never);
  const found = await dns.ask("checkServer", { server: "probe" });
  await dns.ask("deleteServer", { server: "probe" });
  return { verdict: found.verdict, ...Object.fromEntries(found.checks.map((one) => [one.check, one])) };
}

test("a server with the right key is found in order", async () => {
  expect(await check({})).toMatchObject({
    verdict: "ok",
    answer: { status: "ok", serial: 1 },
    key: { status: "ok", code: null },
  });
});

test("a secondary needs no key", async () => {
  expect(await check({ port: bind.secondary?.port, role: "secondary", key: undefined })).toMatchObject({
    verdict: "ok",
    key: { status: "skipped" },
  });
});

test("a key that the server does not know is BADKEY, on a change as well", async () => {
  await dns.ask("setKey", { key: "nobodys", secret: bind.strange("nobodys").secret });

  expect(await check({ key: "nobodys" })).toMatchObject({
    verdict: "failed",
    answer: { status: "ok" },
    key: { status: "failed", code: "DNS_TSIG_BADKEY" },
  });
  const own = { server: "probe", address: "127.0.0.1", port: bind.primary.port, zone: ["debvisor.local"] };
  await dns.ask("setServer", { ...own, key: "nobodys" });
  const refused = await dns.ask("changeRecords", { changes: [{ name: "web1", data: ["192.0.2.1"] }] }).catch((e) => e);
  await dns.ask("deleteServer", { server: "probe" });
  expect(refused).toMatchObject({ code: "DNS_TSIG_BADKEY", exitCode: 6 });
});

test("a key with another secret is BADSIG", async () => {
  await using other = await startBind({ zones: ["debvisor.local"], secondary: false });

  expect(await check({ port: other.primary.port })).toMatchObject({
    verdict: "failed",
    key: { code: "DNS_TSIG_BADSIG", detail: expect.stringContaining("dv-key") },
  });
});

test("clocks that are an hour apart are BADTIME, with the skew", async () => {
  const clock = { ...systemClock, now: () => systemClock.now() - HOUR_MS };
  const folder = mkdtempSync(path.join(cluster().dir, "late-"));
  const parts = { store: new DnsStore(dns.bus, dns.sealKey), bind: createBind({ folder, answerMs: 2_000 }), clock };
  const own = { server: "late", address: "127.0.0.1", port: bind.primary.port, zone: ["debvisor.local"] };
  await dns.ask("setServer", { ...own, key: "dv-key" });

  const found = await checkServerHandler(parts)({ server: "late" }, { signal: AbortSignal.timeout(5_000) } as never);
  await dns.ask("deleteServer", { server: "late" });

  const key = found.checks.find(({ check: kind }) => kind === "key");
  expect([found.verdict, key?.code]).toEqual(["failed", "DNS_TSIG_BADTIME"]);
  const [, seconds] = /clock of late is (\d+) s ahead of this node's/.exec(key?.detail ?? "") ?? [];
  expect(Math.abs(Number(seconds) - HOUR_MS / 1_000)).toBeLessThanOrEqual(5);
});

test("a server that is no primary of the zone is NOTAUTH", async () => {
  const found = await check({ zone: ["elsewhere.test"] });

  expect(found).toMatchObject({ verdict: "failed", key: { code: "DNS_NOT_AUTHORITATIVE" } });
});

test("a server that does not answer is unreachable", async () => {
  expect(await check({ port: 1 })).toMatchObject({
    verdict: "failed",
    answer: { code: "DNS_UNREACHABLE", detail: expect.stringContaining("connection refused") },
  });
});

test("a primary without a key, a weak key, a key that is used, and another secret for a known name are refused", async () => {
  const own = { server: "ns9", address: "127.0.0.1", zone: ["debvisor.local"] };
  const codeOf = (asked: Promise<unknown>) =>
    asked.then(
      () => "taken",
      (error: { code: string }) => error.code,
    );

  expect(await codeOf(dns.ask("setServer", own))).toBe("DNS_RECORD_INVALID");
  expect(await codeOf(dns.ask("setServer", { ...own, key: "unknown" }))).toBe("DNS_KEY_NOT_FOUND");
  expect(await codeOf(dns.ask("setKey", { key: "weak", secret: "c2VjcmV0" }))).toBe("DNS_KEY_INVALID");
  expect(await codeOf(dns.ask("setKey", { key: "dv-key", secret: bind.strange("x").secret }))).toBe("CONFLICT");
  await dns.ask("setServer", { ...own, key: "dv-key" });
  expect(await codeOf(dns.ask("deleteKey", { key: "dv-key" }))).toBe("CONFLICT");
  await dns.ask("deleteServer", { server: "ns9" });
  expect(await codeOf(dns.ask("deleteServer", { server: "ns9" }))).toBe("DNS_SERVER_NOT_FOUND");
});

test("a key is checked by what it signs: named faults, the skew of clocks, and an event of what failed", async () => {
  const own = { server: "probe", address: "127.0.0.1", port: bind.primary.port, key: "dv-key" };
  await dns.ask("setServer", { ...own, zone: ["debvisor.local"] });
  const good = await dns.ask("checkKey", { key: "dv-key" });
  const other = await dns.ask("checkKey", { key: "dv-key", secret: bind.strange("dv-key").secret });
  const folder = mkdtempSync(path.join(cluster().dir, "early-"));
  const clock = { ...systemClock, now: () => systemClock.now() - HOUR_MS };
  const parts = { store: new DnsStore(dns.bus, dns.sealKey), bind: createBind({ folder, answerMs: 2_000 }), clock };
  const context = { signal: AbortSignal.timeout(5_000), actor: "tester", requestId: "r" } as never;
  const late = await checkKeyHandler({ ...parts, bus: dns.bus })({ key: "dv-key" }, context);
  await dns.ask("setServer", { ...own, zone: ["elsewhere.test"] });
  const elsewhere = await dns.ask("checkKey", { key: "dv-key" });
  const unknown = await dns.ask("checkKey", { key: "never-seen" }).catch((error: unknown) => error);
  await dns.ask("deleteServer", { server: "probe" });

  expect([good.verdict, good.checks.map(({ check: kind, status }) => [kind, status])]).toEqual([
    "ok",
    [
      ["stored", "ok"],
      ["secret", "ok"],
      ["signature", "ok"],
    ],
  ]);
  expect(other.checks.map(({ code }) => code)).toEqual(["CONFLICT", null, "DNS_TSIG_BADSIG"]);
  expect(late.checks[2]).toMatchObject({ code: "DNS_TSIG_BADTIME", server: "probe", zone: "debvisor.local" });
  expect(Math.abs((late.checks[2]?.skewSeconds ?? 0) - HOUR_MS / 1_000)).toBeLessThanOrEqual(5);
  expect(elsewhere.checks[2]).toMatchObject({ status: "failed", code: "DNS_NOT_AUTHORITATIVE" });
  expect(unknown).toMatchObject({ code: "DNS_KEY_NOT_FOUND" });
  const events = await eventsOf(await cluster().connectCore("gateway"));
  for (const fact of ["dns.key.created", "dns.key.failed", "DNS_TSIG_BADTIME"]) expect(events).toContain(fact);
});

test("a secret is in no answer, no entry of the bucket, no event, and no file once the programs have ended", async () => {
  await check({});
  const answers = JSON.stringify([await dns.ask("listKeys", {}), await dns.ask("listServers", {})]);
  const entries = JSON.stringify(await (await dns.bus.bucket("dv_dns", z.unknown())).list());
  const events = await eventsOf(await cluster().connectCore("gateway"));

  expect(answers).toContain("dv-key");
  expect(entries).toContain("dv-key");
  expect(events).toContain("dns.server.added");
  for (const text of [answers, entries, events]) expect(text).not.toContain(bind.key.secret);
  expect(readdirSync(path.join(dns.dir, "keys"))).toEqual([]);
});

test("a key that was sealed for another cluster cannot be used, and can be given anew", async () => {
  const bucket = await dns.bus.bucket("dv_dns", DnsEntry);
  const entry = await bucket.get(DNS_ENTRY);
  const { servers = [], keys = [], ring = NO_KEYS } = entry?.value ?? {};
  const sealed = { iv: "AAAAAAAAAAAAAAAA", box: "AAAA", tag: "AAAAAAAAAAAAAAAAAAAAAA==" };
  await bucket.update(
    DNS_ENTRY,
    { servers, ring, keys: keys.map((key) => ({ ...key, sealed })) },
    entry?.revision ?? 0,
  );

  await dns.ask("setServer", {
    server: "probe",
    address: "127.0.0.1",
    port: bind.primary.port,
    zone: ["debvisor.local"],
    key: "dv-key",
  });
  const refused = await dns.ask("checkServer", { server: "probe" }).catch((error: unknown) => error);
  await dns.ask("setKey", { key: "dv-key", secret: bind.key.secret });

  expect(refused).toMatchObject({ code: "DNS_KEY_NOT_FOUND" });
  expect(await dns.ask("checkServer", { server: "probe" })).toMatchObject({ verdict: "ok" });
});
