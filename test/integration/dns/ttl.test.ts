// SPDX-License-Identifier: Apache-2.0
/** Times to live on a real primary and secondary: lowered before a change and restored after it, and never overwritten unseen. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { ChangeResult } from "@debvisor/proto-events/dns-data";
import type { Operation } from "@debvisor/proto-events/durable";
import { afterAll, test as base, beforeAll, expect } from "vitest";
import { startBind, type TestBind } from "../../support/bind.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { type DnsRig, lacking, startDns } from "./rig.ts";

const test = base.skipIf(lacking.length > 0);
const run = promisify(execFile);
const cluster = sharedBusCluster({ servers: 1 });
const ZONE = "debvisor.local";
let bind: TestBind;
let dns: DnsRig;
let count = 0;

beforeAll(async () => {
  if (lacking.length > 0) return;
  bind = await startBind();
  dns = await startDns(cluster());
  await dns.configure(bind);
});
afterAll(async () => {
  await dns?.[Symbol.asyncDispose]();
  await bind?.[Symbol.asyncDispose]();
});

/** A host that somebody made by hand with this time to live, and two addresses for it. */
async function madeByHand(ttl: number) {
  count += 1;
  const [name, from, to] = [`ttl${count}`, `192.0.2.${count}`, `192.0.2.${100 + count}`];
  await bind.nsupdate(ZONE, `update add ${name}.${ZONE}. ${ttl} A ${from}`);
  return { name, from, to };
}

/** Time to live and value of an address as a resolver gets them: the secondary's unless a port is given. */
async function seen(name: string, port = bind.secondary?.port ?? 0): Promise<string[]> {
  const asked = ["-r", "@127.0.0.1", "-p", String(port), "+noall", "+answer", "+norec", `${name}.${ZONE}`, "A"];
  const lines = (await run("dig", asked)).stdout.split("\n").filter((line) => line !== "");
  return lines.map((line) => line.split(/\s+/)).map(([, ttl, , , address]) => `${ttl} ${address}`);
}

/** Changes the address with a low time to live of 1 s; answers when it waits. */
async function untilItWaits({ name, to }: { name: string; to: string }, ttl?: number): Promise<string> {
  const { id } = await dns.ask("changeRecords", {
    changes: [{ name, data: [to], ...(ttl === undefined ? {} : { ttl }) }],
    lowerTtl: true,
    lowTtl: 1,
  });
  await dns.until(id ?? "", (operation) => stateOf(operation, "wait") === "running");
  return id ?? "";
}

function stateOf({ steps }: Operation, step: string): string | undefined {
  return steps.find(({ id }) => id === step)?.state;
}

const isOver = ({ endedAt }: Operation) => endedAt !== null;

test("the time to live is low while the old one is waited for, and what it was once the value has changed", async () => {
  const host = await madeByHand(3);
  const planned = await dns.ask("changeRecords", {
    changes: [{ name: host.name, data: [host.to] }],
    lowerTtl: true,
    lowTtl: 1,
    mode: "plan",
  });
  expect(planned.plan.steps.map(({ id }) => id)).toEqual(["lower-1", "wait", "zone-1", "restore-1"]);
  expect(planned.plan.checks.map(({ message }) => message).join()).toContain("waits 3 s");

  const id = await untilItWaits(host);
  const waitsSince = performance.now();
  expect(await seen(host.name)).toEqual([`1 ${host.from}`]);
  const done = await dns.until(id, isOver);

  expect(performance.now() - waitsSince).toBeGreaterThan(2_500);
  expect(done.state).toBe("succeeded");
  expect(ChangeResult.parse(done.result)).toMatchObject({ propagated: true, zones: [{ zone: ZONE }] });
  expect(await seen(host.name)).toEqual([`3 ${host.to}`]);
});

test("the time to live that was asked for comes at the end, and a rollback brings back the old one", async () => {
  const host = await madeByHand(2);

  const id = await untilItWaits(host, 300);
  await dns.until(id, isOver);
  expect(await seen(host.name)).toEqual([`300 ${host.to}`]);
  const back = await dns.rollback(id);

  expect(back.state).toBe("rolled-back");
  expect(await seen(host.name, bind.primary.port)).toEqual([`2 ${host.from}`]);
});

test("a cancel during the wait brings the old time to live back at once", async () => {
  const host = await madeByHand(600);
  const id = await untilItWaits(host);
  expect(await seen(host.name)).toEqual([`1 ${host.from}`]);

  const cancelled = await dns.cancel(id);

  expect([cancelled.state, stateOf(cancelled, "zone-1")]).toEqual(["cancelled", "pending"]);
  // The wait comes on top of the ten minutes that a change has.
  const hadMs = Date.parse(cancelled.deadlineAt ?? "") - Date.parse(cancelled.createdAt ?? "");
  expect(Math.round(hadMs / 1_000)).toBe(1_200);
  expect(await seen(host.name, bind.primary.port)).toEqual([`600 ${host.from}`]);
});

test("a server that goes on giving out the old time to live has the change undone before it waits", async () => {
  const host = await madeByHand(600);
  await bind.secondary?.stop();

  const done = await dns.change({
    changes: [{ name: host.name, data: [host.to] }],
    lowerTtl: true,
    propagation: "300ms",
  });
  await bind.secondary?.start();

  expect([done.state, done.error?.code, stateOf(done, "wait")]).toEqual([
    "rolled-back",
    "DNS_NOT_PROPAGATED",
    "pending",
  ]);
  expect(await seen(host.name, bind.primary.port)).toEqual([`600 ${host.from}`]);
});

test("an engine that dies while it waits is followed by one that waits for the rest only", async () => {
  const host = await madeByHand(8);
  await using other = await startDns(cluster());
  const changes = [{ name: host.name, data: [host.to] }];
  const { id } = await other.ask("changeRecords", { changes, lowerTtl: true, lowTtl: 1 });
  const waiting = await dns.until(id ?? "", (operation) => stateOf(operation, "wait") === "running");
  const [first, second] = waiting.owner?.instance.includes(other.id) ? [other, dns] : [dns, other];
  await new Promise((resolve) => setTimeout(resolve, 5_000));

  await first.bus.close();
  const adopted = await second.until(id ?? "", (operation) => operation.owner?.epoch === 2);
  const adoptedAt = performance.now();
  expect([stateOf(adopted, "wait"), stateOf(adopted, "zone-1")]).toEqual(["running", "pending"]);
  expect(await seen(host.name)).toEqual([`1 ${host.from}`]);
  const done = await second.until(id ?? "", isOver);
  const restMs = performance.now() - adoptedAt;
  if (first === dns) dns = await startDns(cluster());

  expect(done.state).toBe("succeeded");
  expect(restMs).toBeGreaterThan(2_000);
  expect(restMs).toBeLessThan(7_000);
  expect(await seen(host.name)).toEqual([`8 ${host.to}`]);
});

test.each([
  ["a time to live", 77, false],
  ["an address", 1, true],
])("%s that somebody else changes during the wait is noticed, and kept", async (_what, ttl, isMoved) => {
  const host = await madeByHand(3);
  const id = await untilItWaits(host);
  const address = isMoved ? "192.0.2.250" : host.from;
  const full = `${host.name}.${ZONE}.`;
  await bind.nsupdate(ZONE, `update delete ${full} A`, `update add ${full} ${ttl} A ${address}`);

  const done = await dns.until(id, ({ state, endedAt }) => endedAt !== null || state === "stuck");

  expect([done.state, done.error?.code]).toEqual(["rolled-back", "CONFLICT"]);
  expect(done.error?.message).toContain(`expected 1 ${host.from}, found ${ttl} ${address}`);
  expect(await seen(host.name, bind.primary.port)).toEqual([`${ttl} ${address}`]);
});
