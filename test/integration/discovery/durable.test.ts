// SPDX-License-Identifier: Apache-2.0
/**
 * Discovery's own engine beside the node agent's, both as their core parts start them: operations are taken by the one and looked
 * at, explained, steered and tried again through the other; maintenance refuses and says so whichever is asked.
 */
import { discoveryContract } from "@debvisor/proto-events/discovery";
import type { Operation } from "@debvisor/proto-events/durable";
import { maintenanceContract } from "@debvisor/proto-events/maintenance";
import { operationContract } from "@debvisor/proto-events/operation";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { systemClock } from "@debvisor/shared/clock";
import { newOperationId } from "@debvisor/shared/operation/submit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startCore } from "../../../services/node-agent/core.ts";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";
import { LockRig } from "../operation/lock-rig.ts";
import { until } from "./instance.ts";
import { type CleanUp, startBeating, startDiscovery } from "./server.ts";

const cluster = sharedBusCluster({ servers: 1 });
const cleanUp: CleanUp = [];
const ANN = { actor: "ann" };
let bus: ConnectedBus;
let blocked: unknown[];
let node: string;

beforeAll(async () => {
  const { log } = cluster();
  await startDiscovery(cluster(), {}, cleanUp);
  node = (await startBeating(cluster(), {}, cleanUp)).id;
  const identity = { id: randomNodeId(), name: "s", bootId: "b" };
  const core = startCore(
    { clock: systemClock, log, node: identity as never },
    await cluster().connectCore("node-agent"),
  );
  cleanUp.push(() => core.stop());
  await until(() => core.waitsFor() === undefined, 10_000, "the node agent's engine is up");
  bus = await cluster().connectCore("gateway");
  blocked = [];
  const note = (json: string) => void blocked.push((JSON.parse(json) as { data: unknown }).data);
  const events = await bus.readEvents({
    fromSeq: 1,
    onEvent: ({ type, json }) => (type === "maintenance.change.blocked" ? note(json) : undefined),
  });
  cleanUp.push(() => events.stop());
});
afterAll(async () => {
  for (const one of cleanUp.splice(0).reverse()) await one();
});

const disable = (more: object = {}, by: object = ANN) =>
  bus.request("core", discoveryContract, "disableNode", { node, reason: "disk swap", ...more }, by);
const show = async () => (await bus.request("core", discoveryContract, "getNode", { node })).disabled;

/** How an operation ended, as the node agent says. */
async function endOf({ id }: Pick<Operation, "id">): Promise<string> {
  const asked = { operation: id ?? "", seconds: 10 };
  return (await bus.request("core", operationContract, "waitOperation", asked)).state;
}

/** Steers an operation through the node agent. A moment after its end the record of it may still be on its way. */
function steer(verb: "cancel" | "rollback" | "retry", { id }: Pick<Operation, "id">): Promise<Operation> {
  return bus.request("core", operationContract, `${verb}Operation`, { operation: id ?? "" }, ANN);
}

test("a node is disabled once, and rolled back through the node agent although discovery runs it", async () => {
  const operation = newOperationId();
  const planned = await disable({ mode: "plan" });
  const [first, again] = [await disable({}, { ...ANN, operation }), await disable({}, { ...ANN, operation })];
  const ended = await endOf(first);
  const mark = await show();
  const unchanged = await disable({ reason: "another reason" });
  await endOf(unchanged);
  await steer("rollback", first);

  expect(planned.plan.effects).toMatchObject([{ what: "state", before: "not disabled", after: "disabled: disk swap" }]);
  expect([first.id, again.id, ended]).toEqual([operation, operation, "succeeded"]);
  expect(mark).toMatchObject({ reason: "disk swap", actor: "ann" });
  expect(unchanged.plan.targets).toMatchObject([{ state: "unchanged" }]);
  expect(await endOf(first)).toBe("rolled-back");
  expect(await show()).toBeNull();
});

test("an operation that waits is explained by the engine that runs it, cancelled, and tried again there", async () => {
  const locks = await new LockRig(cluster()).open();
  const holder = await bus.request(
    "core",
    maintenanceContract,
    "enableMaintenance",
    { node, reason: "held", try: "10m" },
    ANN,
  );
  const claim = { type: "test.hold", actor: "tom", reason: "holds", priority: 5, expiresAt: null };
  await locks.acquire({ ...claim, operation: holder.id ?? "", resources: [`node/${node}/registry`] }, { wait: false });
  const waiting = await disable({ wait: "1m" });
  const why = await bus.request("core", operationContract, "explainOperation", { operation: waiting.id ?? "" });
  await steer("cancel", waiting);
  const cancelled = await endOf(waiting);
  await locks.release(holder.id ?? "");
  const retried = await steer("retry", waiting);

  expect(why).toMatchObject({ state: "queued", waits: [{ blocker: `operation ${holder.id} (test.hold)` }] });
  expect(cancelled).toBe("cancelled");
  expect(retried).toMatchObject({ type: "discovery.disable-node", actor: "ann" });
  expect([await endOf(retried), (await show())?.reason]).toEqual(["succeeded", "disk swap"]);
});

test("maintenance refuses a change of somebody else's node, and discovery says so in the event of maintenance", async () => {
  const refused = bus.request("core", discoveryContract, "enableNode", { node }, { actor: "tom" });

  await expect(refused).rejects.toMatchObject({ code: "IN_MAINTENANCE" });
  await until(() => blocked.length > 0, 5_000, "the event");
  expect(blocked).toMatchObject([{ target: node, holder: "ann", actor: "tom", type: "discovery.enable-node" }]);
  expect((await show())?.reason).toBe("disk swap");
});

test("what is no node is refused before anything is recorded as begun", async () => {
  const ask = (input: object) => bus.request("core", discoveryContract, "disableNode", input as { node: string }, ANN);

  await expect(ask({ node: "node-99", reason: "r" })).rejects.toMatchObject({ code: "NODE_NOT_FOUND" });
  await expect(ask({ node })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});
