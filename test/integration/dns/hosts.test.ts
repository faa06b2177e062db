// SPDX-License-Identifier: Apache-2.0
/** Hosts registered in DNS on a real primary and secondary: by request, and the nodes of the registry by themselves. */
import type { NodeEntry } from "@debvisor/proto-events/discovery";
import type { dnsContract } from "@debvisor/proto-events/dns";
import type { DnsHost } from "@debvisor/proto-events/dns-hosts";
import { FINAL_STATES, type Operation } from "@debvisor/proto-events/durable";
import type { Request } from "@debvisor/proto-events/kit";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { afterAll, test as base, beforeAll, describe, expect } from "vitest";
import { NodeRecord } from "../../../services/discovery/model/registry.ts";
import { startBind, type TestBind } from "../../support/bind.ts";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";
import { waitFor } from "../../support/wait-for.ts";
import { type DnsRig, lacking, startDns } from "./rig.ts";

type C = typeof dnsContract;
const test = base.skipIf(lacking.length > 0);
const cluster = sharedBusCluster({ servers: 1 });
const ZONE = "debvisor.local";
let bind: TestBind;
let dns: DnsRig;
/** A second server's: only one of them registers nodes. */
let other: DnsRig;
let discovery: ConnectedBus;

beforeAll(async () => {
  if (lacking.length > 0) return;
  bind = await startBind();
  [dns, other] = [await startDns(cluster()), await startDns(cluster())];
  discovery = await cluster().connectCore("discovery");
});
afterAll(async () => {
  await Promise.all([dns?.[Symbol.asyncDispose](), other?.[Symbol.asyncDispose]()]);
  await bind?.[Symbol.asyncDispose]();
});

const isOver = ({ state }: Operation) => FINAL_STATES.has(state) || state === "stuck";
const seen = (name: string, type: string) => bind.dig(name, type, bind.secondary?.port);
const pointer = (last: number) => seen(`${last}.2.0.192.in-addr.arpa`, "PTR");

async function register(host: string, addresses: string[], more: Partial<Request<C, "registerHost">> = {}) {
  const { id } = await dns.ask("registerHost", { host, addresses, ...more });
  return await dns.until(id ?? "", isOver);
}

async function deregister(host: string) {
  const { id } = await dns.ask("deregisterHost", { host });
  return await dns.until(id ?? "", isOver);
}

async function listed(host: string): Promise<DnsHost | undefined> {
  return (await dns.ask("listHosts", {})).items.find((one) => one.host === `${host}.${ZONE}`);
}

async function untilListed(host: string, isSo: (found: DnsHost | undefined) => boolean): Promise<DnsHost | undefined> {
  let found: DnsHost | undefined;
  await waitFor(
    async () => {
      found = await listed(host);
      return isSo(found);
    },
    20_000,
    () => `${host} is ${JSON.stringify(found)}`,
  );
  return found;
}

/** Enters a node as discovery does, or changes its entry. */
async function putNode(node: Pick<NodeEntry, "id" | "name" | "addresses">): Promise<void> {
  const bucket = await discovery.bucket("dv_nodes", NodeRecord);
  const last = await bucket.get(node.id);
  const value = NodeRecord.parse({
    ...{ ...node, state: "alive", roles: ["worker"], version: "0.1.0", lastSeen: null, bootId: "b", disabled: null },
    registeredAt: "2026-11-28T12:00:00.000Z",
  });
  await (last ? bucket.update(node.id, value, last.revision) : bucket.create(node.id, value));
}

async function removeNode(id: string): Promise<void> {
  await (await discovery.bucket("dv_nodes", NodeRecord)).delete(id);
}

const one = { id: randomNodeId(), name: "node-1", addresses: ["127.0.0.1", "fe80::1", "192.0.2.11", "192.0.2.99"] };

// In order: the tests of nodes begin before there is any server.
describe("a node", () => {
  test("waits for its zone to have a primary, and the list says what to configure", async () => {
    await putNode(one);

    const waiting = await untilListed("node-1", (found) => found !== undefined);

    expect(waiting).toMatchObject({ state: "waiting", code: "DNS_SERVER_MISSING", addresses: ["192.0.2.11"] });
    expect(waiting?.detail).toContain("dvctl dns servers add NAME --address IP --role primary --zone debvisor.local");
  });

  test("is registered once the primary that was down is back", async () => {
    await bind.primary.stop();
    await dns.configure(bind);
    await putNode({ ...one, addresses: [...one.addresses, "2001:db8::11"] });
    const failed = await untilListed("node-1", (found) => found?.state === "failed");
    expect(failed).toMatchObject({ code: "DNS_UNREACHABLE", kind: "node", id: one.id });

    await bind.primary.start();
    const done = await untilListed("node-1", (found) => found?.state === "registered");

    expect(done).toMatchObject({ code: null, addresses: ["192.0.2.11", "2001:db8::11"], registeredBy: "system" });
    expect([await seen(`node-1.${ZONE}`, "A"), await seen(`node-1.${ZONE}`, "AAAA"), await pointer(11)]).toEqual([
      ["192.0.2.11"],
      ["2001:db8::11"],
      [`node-1.${ZONE}.`],
    ]);
  });

  test("whose address changes gets other records", async () => {
    await putNode({ ...one, addresses: ["192.0.2.12"] });

    await untilListed("node-1", (found) => found?.addresses.join() === "192.0.2.12");

    expect([await seen(`node-1.${ZONE}`, "A"), await seen(`node-1.${ZONE}`, "AAAA")]).toEqual([["192.0.2.12"], []]);
    expect([await pointer(11), await pointer(12)]).toEqual([[], [`node-1.${ZONE}.`]]);
  });

  test("whose name somebody uses already is not registered, and the list says why", async () => {
    await bind.nsupdate(ZONE, `update add node-2.${ZONE}. 60 A 192.0.2.200`);
    const two = { id: randomNodeId(), name: "node-2", addresses: ["192.0.2.22"] };

    await putNode(two);
    const failed = await untilListed("node-2", (found) => found?.state === "failed");

    expect(failed?.code).toBe("CONFLICT");
    expect(failed?.detail).toMatch(/has 60 192\.0\.2\.200, made by somebody else; it shall have 192\.0\.2\.22/);
    // Of the primary: nothing waits until the secondary has what others write.
    expect(await bind.dig(`node-2.${ZONE}`, "A")).toEqual(["192.0.2.200"]);
    await removeNode(two.id);
    await untilListed("node-2", (found) => found === undefined);
  });

  test("that is removed has no records any more", async () => {
    const three = { id: randomNodeId(), name: "node-3", addresses: ["192.0.2.33"] };
    await putNode(three);
    await untilListed("node-3", (found) => found?.state === "registered");

    await removeNode(one.id);
    await untilListed("node-1", (found) => found === undefined);

    expect([await seen(`node-1.${ZONE}`, "A"), await pointer(12)]).toEqual([[], []]);
    expect([await seen(`node-3.${ZONE}`, "A"), await pointer(33)]).toEqual([["192.0.2.33"], [`node-3.${ZONE}.`]]);
    const { items } = await dns.ask("listChanges", { limit: 200 });
    const ofThree = items.filter(({ records }) => records.some(({ name }) => name === `node-3.${ZONE}`));
    expect(ofThree.map(({ state, actor }) => [state, actor])).toEqual([["succeeded", "system"]]);
  });
});

describe("a host", () => {
  test("is registered with several addresses, and nothing is done when it is again", async () => {
    const done = await register("vm1", ["192.0.2.41", "192.0.2.42", "2001:db8::41"], { id: "vm-1" });
    expect(done).toMatchObject({ state: "succeeded", result: { propagated: true } });

    const again = await register("VM1.debvisor.local.", ["192.0.2.42", "2001:DB8:0::41", "192.0.2.41"], { id: "vm-1" });

    expect(again).toMatchObject({ state: "succeeded", changed: false, plan: { steps: [] } });
    expect(await seen(`vm1.${ZONE}`, "A")).toEqual(["192.0.2.41", "192.0.2.42"]);
    expect([await pointer(41), await pointer(42)]).toEqual([[`vm1.${ZONE}.`], [`vm1.${ZONE}.`]]);
    expect(await listed("vm1")).toMatchObject({ kind: "vm", id: "vm-1", state: "registered", operation: done.id });
  });

  test("does not take over what another one has registered, unless it is told to", async () => {
    await register("vm2", ["192.0.2.51"], { id: "vm-2" });

    const sameName = register("vm2", ["192.0.2.52"], { id: "vm-3" });
    await expect(sameName).rejects.toMatchObject({ code: "CONFLICT", message: expect.stringContaining("vm vm-2") });
    const sameAddress = register("vm3", ["192.0.2.51"], { id: "vm-3" });
    await expect(sameAddress).rejects.toMatchObject({
      code: "CONFLICT",
      message: expect.stringMatching(/PTR has 3600 vm2\.debvisor\.local\., registered for vm2\.debvisor\.local; it/),
    });
    expect(await seen(`vm3.${ZONE}`, "A")).toEqual([]);

    expect((await register("vm3", ["192.0.2.51"], { id: "vm-3", takeOver: true })).state).toBe("succeeded");
    expect(await pointer(51)).toEqual([`vm3.${ZONE}.`]);
  });

  test("is deregistered without the records that it did not make", async () => {
    await bind.nsupdate("2.0.192.in-addr.arpa", "update add 61.2.0.192.in-addr.arpa. 60 PTR by-hand.debvisor.local.");
    await bind.nsupdate(ZONE, `update add vm4.${ZONE}. 60 AAAA 2001:db8::61`);
    await register("vm4", ["192.0.2.61", "2001:db8::61"], { takeOver: true });
    await bind.nsupdate(ZONE, `update add vm4.${ZONE}. 60 A 192.0.2.62`);

    const done = await deregister("vm4");

    expect(done.state).toBe("succeeded");
    expect(await seen(`vm4.${ZONE}`, "A")).toEqual(["192.0.2.62"]);
    expect(await seen(`vm4.${ZONE}`, "AAAA")).toEqual(["2001:db8::61"]);
    expect(await pointer(61)).toEqual([]);
    expect(await listed("vm4")).toBeUndefined();
    expect(await deregister("vm4")).toMatchObject({ state: "succeeded", changed: false });
  });

  test("is as before when its registration is rolled back", async () => {
    await register("vm5", ["192.0.2.71"]);
    const moved = await register("vm5", ["192.0.2.72"]);

    const back = await dns.rollback(moved.id ?? "");

    expect(back.state).toBe("rolled-back");
    expect(await bind.dig(`vm5.${ZONE}`, "A")).toEqual(["192.0.2.71"]);
    expect(await listed("vm5")).toMatchObject({ addresses: ["192.0.2.71"] });
    expect((await dns.ask("listChanges", {})).items[0]).toMatchObject({
      ...{ id: moved.id, state: "rolled-back" },
      records: expect.arrayContaining([expect.objectContaining({ name: `vm5.${ZONE}`, type: "A" })]),
    });
  });

  test.each([
    ["vm_6", ["192.0.2.81"], /underscore/],
    ["vm6", ["192.0.2.256"], /IPv|addresses/i],
    ["vm6", [], /addresses/],
  ])("%s with %j is refused", async (host, addresses, why) => {
    await expect(register(host, addresses)).rejects.toMatchObject({ message: expect.stringMatching(why) });
  });
});
