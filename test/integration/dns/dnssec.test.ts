// SPDX-License-Identifier: Apache-2.0
/** Signed zones on a real BIND: changes of records there, and what a look at the signatures finds. */
import { afterAll, test as base, beforeAll, expect } from "vitest";
import { startBind, type TestBind } from "../../support/bind.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { waitFor } from "../../support/wait-for.ts";
import { type DnsRig, lacking, startDns } from "./rig.ts";

const test = base.skipIf(lacking.length > 0);
const cluster = sharedBusCluster({ servers: 1 });
const zone = "debvisor.local";
let signed: TestBind;
let dns: DnsRig;

beforeAll(async () => {
  if (lacking.length > 0) return;
  signed = await startBind({ dnssec: true });
  dns = await startDns(cluster());
  await dns.configure(signed);
  await waitFor(
    async () => (await dns.ask("checkDnssec", { zone })).verdict === "ok",
    20_000,
    () => "the zone is not signed",
  );
});
afterAll(async () => {
  await dns?.[Symbol.asyncDispose]();
  await signed?.[Symbol.asyncDispose]();
});

test("a signed zone takes a change, keeps its signatures on both servers, and takes the undo", async () => {
  const made = await dns.change({ changes: [{ name: "web1", data: ["192.0.2.1"], ptr: true }] });
  const after = await dns.ask("checkDnssec", { zone });
  const undone = await dns.rollback(made.id ?? "");

  expect(made).toMatchObject({ state: "succeeded", result: { propagated: true } });
  expect(after.servers.map(({ server, status, detail }) => [server, status, detail])).toEqual([
    ["ns1", "ok", "the chain holds"],
    ["ns2", "ok", "the chain holds"],
  ]);
  expect(undone.state).toBe("rolled-back");
});

test("signatures that end too soon are told, with the time", async () => {
  const { verdict, servers } = await dns.ask("checkDnssec", { zone, hours: 8_760 });

  expect([verdict, servers[0]?.status, servers[0]?.detail]).toEqual([
    "failed",
    "failed",
    "its signatures end too soon",
  ]);
  expect(Date.parse(servers[0]?.expiresAt ?? "")).toBeGreaterThan(Date.now());
});

test("a server whose keys are others breaks the chain, and one without signatures is told apart", async () => {
  await using other = await startBind({ dnssec: true, secondary: false, zones: [zone] });
  await using plain = await startBind({ secondary: false, zones: [zone] });
  const own = { address: "127.0.0.1", role: "secondary" as const, zone: [zone] };
  await dns.ask("setServer", { server: "ns8", port: other.primary.port, ...own });
  await dns.ask("setServer", { server: "ns9", port: plain.primary.port, ...own });
  const look = async () => (await dns.ask("checkDnssec", { zone })).servers.slice(2);
  await waitFor(
    async () => (await look())[0]?.status === "failed",
    20_000,
    () => "the other zone is not signed",
  );

  const found = await look();
  for (const server of ["ns8", "ns9"]) await dns.ask("deleteServer", { server });

  expect(found.map(({ server, status }) => [server, status])).toEqual([
    ["ns8", "failed"],
    ["ns9", "unsigned"],
  ]);
  expect(found[0]?.detail).toMatch(/no valid signature|no valid RRSIG|broken trust chain/);
});
