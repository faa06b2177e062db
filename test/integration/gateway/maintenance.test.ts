// SPDX-License-Identifier: Apache-2.0
/** Maintenance is honoured for the changes that the gateway forwards itself. */
import { contract } from "@debvisor/proto-events/kit";
import { type Maintenance, maintenanceContract } from "@debvisor/proto-events/maintenance";
import { beforeAll, expect, it } from "vitest";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { ask, keyed, nodeRecord, type Rig, startRig } from "./rig.ts";

const cluster = sharedBusCluster({ servers: 1 });
const NODE = nodeRecord("abcdefghij234567", "node-1");
const held: Maintenance[] = [];
let rig: Rig;

beforeAll(async () => {
  const { getMaintenance } = maintenanceContract.operations;
  const asked = contract({ ...maintenanceContract, operations: { getMaintenance }, events: {} });
  const bus = await cluster().connectCore("node-agent");
  await bus.serve(asked, "core", { getMaintenance: () => ({ items: held }) });
  const discovery = await cluster().connectCore("discovery");
  const { discoveryContract } = await import("@debvisor/proto-events/discovery");
  const { deleteNode, listNodes } = discoveryContract.operations;
  const nodes = contract({ ...discoveryContract, operations: { deleteNode, listNodes }, events: {} });
  await discovery.serve(nodes, "core", {
    deleteNode: () => ({ id: NODE.id, deleted: true }),
    listNodes: () => ({ items: [NODE], nextCursor: null }),
  });
  rig = await startRig(cluster());
});

const remove = () => ask(rig, "/v1/nodes/node-1?reason=disk", { method: "DELETE", headers: keyed(), body: "{}" });

const maintenance = (target: string, name: string, holder: string): Maintenance => ({
  target,
  name,
  holder,
  user: null,
  reason: null,
  operation: "op-k3x7w2mqabcde",
  since: "2026-11-21T09:12:03.117Z",
  until: null,
});

it("refuses a change of a node that somebody else holds, and names the holder", async () => {
  held.splice(0, held.length, maintenance(NODE.id, NODE.name, "somebody"));

  const { status, body } = await remove();

  expect(status).toBe(423);
  expect(body).toMatchObject({ code: "IN_MAINTENANCE", details: { maintenance: { holder: "somebody" } } });
});

it("refuses every change while somebody else holds the cluster", async () => {
  held.splice(0, held.length, maintenance("cluster", "cluster", "somebody"));

  expect((await remove()).status).toBe(423);
  const token = { method: "POST", headers: keyed(), body: JSON.stringify({ name: "ci" }) };
  expect((await ask(rig, "/v1/tokens", token)).status).toBe(423);
});

it("lets the holder go on, and others where nothing of theirs is held", async () => {
  held.splice(0, held.length, maintenance(NODE.id, NODE.name, rig.keys.admin.id));
  expect((await remove()).status).toBe(200);

  held.splice(0, held.length, maintenance("zzzzzzzzzzzzzzzz", "node-9", "somebody"));
  expect((await remove()).status).toBe(200);
});
