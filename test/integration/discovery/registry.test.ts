// SPDX-License-Identifier: Apache-2.0
/**
 * The node registry on a real bus: two servers' core parts, nodes that send heartbeats, and what the event stream says of
 * them when nodes fall silent, the projector dies and the bus restarts. Times are a tenth of the real ones.
 */
import { discoveryContract } from "@debvisor/proto-events/discovery";
import type { Heartbeat } from "@debvisor/proto-events/node-agent";
import type { StoredEvent } from "@debvisor/shared/bus/bus";
import { holdLease } from "@debvisor/shared/leases";
import { afterEach, expect, test } from "vitest";
import type { DiscoveryConfig } from "../../../services/discovery/config.ts";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";
import { KEY, until } from "./instance.ts";
import { type CleanUp, startBeating, startDiscovery } from "./server.ts";

const cluster = sharedBusCluster({ servers: 1 });

const cleanUp: CleanUp = [];
afterEach(async () => {
  for (const one of cleanUp.splice(0).reverse()) await one();
});

const startServer = (config: Partial<DiscoveryConfig> = {}) => startDiscovery(cluster(), config, cleanUp);
const startNode = (more: Partial<Heartbeat> = {}) => startBeating(cluster(), more, cleanUp);

/** Every event about a node from now on, as `<fact>` names in order. */
async function record() {
  const bus = await cluster().connectCore("gateway");
  const events: StoredEvent[] = [];
  const { lastSeq } = await bus.eventRange();
  const reader = await bus.readEvents({ fromSeq: lastSeq + 1, onEvent: (event) => void events.push(event) });
  cleanUp.push(() => reader.stop());
  const of = (id: string) =>
    events.filter(({ json }) => JSON.parse(json).subject === id).map(({ type }) => type.replace("discovery.node.", ""));
  return { bus, of };
}

const call = { actor: "tester" };

test("nodes appear, are listed with their load, fall silent, are lost once and return", {
  timeout: 30_000,
}, async () => {
  await Promise.all([startServer(), startServer()]);
  const { bus, of } = await record();
  const [a, b] = await Promise.all([startNode(), startNode()]);
  await until(() => of(a.id).length > 0 && of(b.id).length > 0, 5_000, "both appeared");

  const list = await bus.request("core", discoveryContract, "listNodes", {
    filter: "state=alive,role=worker",
    sort: "-id",
  });
  expect(list.items.map(({ id }) => id)).toEqual([a.id, b.id].sort().reverse());
  expect(list.items[0]?.metrics?.load1).toBe(0.5);
  expect((await bus.request("core", discoveryContract, "getNode", { node: `n-${a.id}` })).id).toBe(a.id);

  a.state.speaking = false;
  await until(() => of(a.id).includes("lost"), 6_000, "lost");
  a.state.speaking = true;
  await until(() => of(a.id).includes("returned"), 3_000, "returned");

  expect(of(a.id)).toEqual(["appeared", "suspected", "lost", "returned"]);
  expect(of(b.id)).toEqual(["appeared"]);
});

test("a successor takes over from a projector that died, and no transition is announced twice", {
  timeout: 30_000,
}, async () => {
  const first = await startServer();
  const { bus, of } = await record();
  const nodes = await Promise.all(Array.from({ length: 8 }, () => startNode()));
  await until(() => nodes.every(({ id }) => of(id).length > 0), 5_000, "all appeared");
  const second = await startServer();

  for (const { state } of nodes.slice(0, 4)) state.speaking = false;
  await until(() => nodes.slice(0, 4).some(({ id }) => of(id).includes("suspected")), 5_000, "first suspicion");
  await first.bus.connection.close();
  await until(() => nodes.slice(0, 4).every(({ id }) => of(id).includes("lost")), 12_000, "all lost");
  await new Promise((resolve) => setTimeout(resolve, 1_000));

  for (const { id } of nodes.slice(0, 4)) expect(of(id)).toEqual(["appeared", "suspected", "lost"]);
  for (const { id } of nodes.slice(4)) expect(of(id)).toEqual(["appeared"]);
  expect(second.running.ready()).toBeUndefined();
  expect((await bus.request("core", discoveryContract, "getNode", { node: nodes[0]?.id ?? "" })).state).toBe("lost");
});

test("disabling, enabling, registering and deleting leave a state and one event each", {
  timeout: 30_000,
}, async () => {
  await startServer();
  const { bus, of } = await record();
  const node = await startNode();
  await until(() => of(node.id).length > 0, 5_000, "appeared");
  const ask = { node: node.id };

  const show = () => bus.request("core", discoveryContract, "getNode", ask);
  await bus.request("core", discoveryContract, "disableNode", { ...ask, reason: "disk swap" }, call);
  await until(() => of(node.id).includes("disabled"), 5_000, "disabled");
  expect(await show()).toMatchObject({ state: "disabled", disabled: { reason: "disk swap", actor: "tester" } });
  await bus.request("core", discoveryContract, "enableNode", ask, call);
  await until(() => of(node.id).includes("enabled"), 5_000, "enabled");
  expect(await show()).toMatchObject({ state: "alive", disabled: null });
  const remove = () => bus.request("core", discoveryContract, "deleteNode", { ...ask, reason: "scrapped" }, call);
  await expect(remove()).rejects.toMatchObject({ code: "NODE_ALIVE" });

  const wanted = { id: randomNodeId(), name: `n-${node.id}` };
  const register = (input: typeof wanted) => bus.request("core", discoveryContract, "registerNode", input, call);
  await expect(register(wanted)).rejects.toMatchObject({ code: "NODE_NAME_TAKEN" });
  expect(await register({ ...wanted, name: "by-hand" })).toMatchObject({ state: "lost", lastSeen: null });

  node.state.speaking = false;
  await until(() => of(node.id).includes("lost"), 6_000, "lost");
  expect(await remove()).toEqual({ id: node.id, deleted: true });
  await expect(remove()).rejects.toMatchObject({ code: "NODE_NOT_FOUND" });
  await until(() => of(node.id).includes("deleted"), 3_000, "deleted");
  expect(of(node.id)).toEqual(["appeared", "disabled", "enabled", "suspected", "lost", "deleted"]);
  expect(of(wanted.id)).toEqual(["registered"]);
});

test("a heartbeat about another node is dropped, and a second node of a name gets another", {
  timeout: 20_000,
}, async () => {
  await startServer();
  const { bus, of } = await record();
  const honest = await startNode({ name: "web" });
  await until(() => of(honest.id).includes("appeared"), 5_000, "the honest one appeared");
  const victim = randomNodeId();
  const liar = await startNode({ node: victim });
  const twin = await startNode({ name: "web" });
  await until(() => of(twin.id).includes("appeared"), 5_000, "the twin appeared");

  expect((await bus.request("core", discoveryContract, "getNode", { node: twin.id })).name).toBe(
    `web-${twin.id.slice(0, 4)}`,
  );
  expect((await bus.request("core", discoveryContract, "getNode", { node: "web" })).id).toBe(honest.id);
  for (const node of [victim, liar.id]) {
    await expect(bus.request("core", discoveryContract, "getNode", { node })).rejects.toMatchObject({
      code: "NODE_NOT_FOUND",
    });
  }
});

test("nobody is lost because the bus was away for longer than the times allow", { timeout: 40_000 }, async () => {
  await startServer();
  const { of } = await record();
  const nodes = await Promise.all([startNode(), startNode()]);
  await until(() => nodes.every(({ id }) => of(id).length > 0), 5_000, "all appeared");

  await cluster().server(0).stop();
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  await cluster().server(0).start();
  await until(() => nodes.every(({ bus }) => bus.connected), 10_000, "all are back");
  await new Promise((resolve) => setTimeout(resolve, 3_000));

  for (const { id } of nodes) expect(of(id)).toEqual(["appeared"]);
});

test("a lease on the real bucket is renewed, goes to the next when given back, and frees itself", {
  timeout: 30_000,
}, async () => {
  const log: string[] = [];
  const contend = async (name: string) => {
    const bus = await cluster().connectCore("discovery");
    const calls = { onHeld: () => log.push(`${name} held`), onLost: () => log.push(`${name} lost`) };
    const lease = holdLease(bus, "test-job", name, { ttlSeconds: 2, ...calls, log: cluster().log });
    cleanUp.push(() => lease.stop());
    return { bus, lease };
  };
  const a = await contend("a");
  await until(() => a.lease.held, 3_000, "a holds");
  const b = await contend("b");
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  expect(log).toEqual(["a held"]);

  await a.lease.stop();
  await until(() => b.lease.held, 1_500, "b holds");
  const c = await contend("c");
  await b.bus.connection.close();
  await until(() => c.lease.held, 8_000, "c holds");

  expect(log).toEqual(["a held", "a lost", "b held", "b lost", "c held"]);
});

test("discover shows this cluster's registered node as a member, and another cluster's as foreign", {
  timeout: 30_000,
}, async () => {
  const { createMdns } = await import("@debvisor/shared/drivers/mdns");
  const { announcement } = await import("./instance.ts");
  const server = await startServer({ mdns: true, interfaces: ["127.0.0.1"] });
  const { bus, of } = await record();
  const [member, claimant, stranger] = [await startNode(), { id: randomNodeId() }, { id: randomNodeId() }];
  await until(() => of(member.id).length > 0, 5_000, "the member appeared");
  const keys = [KEY, KEY, new Uint8Array(32)];
  for (const [at, { id }] of [member, claimant, stranger].entries()) {
    const mdns = await createMdns({ interfaces: ["127.0.0.1"], onError: () => undefined });
    cleanUp.push(() => mdns.close());
    mdns.advertise(announcement(id, {}, keys[at]));
  }

  const found = await bus.request("core", discoveryContract, "discover", { seconds: 1 });
  const shown = Object.fromEntries(found.items.map((item) => [item.instance, item]));

  expect(found.interfaces).toEqual(["127.0.0.1"]);
  expect(shown[member.id]).toMatchObject({ member: "yes", addresses: ["127.0.0.1"], status: "joining" });
  expect(shown[claimant.id]?.member).toBe("no");
  expect(shown[stranger.id]?.member).toBe("foreign");
  expect(shown[server.id]).toMatchObject({ status: "ready", role: "server", port: 8422 });
  await until(() => of(claimant.id).includes("discovery.peer.seen"), 5_000, "the sighting as an event");
  const refused = bus.request("core", discoveryContract, "discover", { seconds: 1, interface: "no-such" });
  await expect(refused).rejects.toMatchObject({ code: "MDNS_UNAVAILABLE" });
});
