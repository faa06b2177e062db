// SPDX-License-Identifier: Apache-2.0
/**
 * What the engine orders a node to do, on the local cluster: services restarted one by one in both ways in which a node runs
 * them, and whole nodes. The test speaks to the bus with the credential of a server's core part, as the engine does.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { hostContract } from "@debvisor/proto-events/host";
import type { Output, Request } from "@debvisor/proto-events/kit";
import type { Order } from "@debvisor/shared/bus/bus";
import { type ConnectedBus, connectBus } from "@debvisor/shared/bus/connect";
import { silentLogger } from "@debvisor/shared/log";
import { busTls, readCredential, readMembership } from "@debvisor/shared/node-files";
import { expect, test } from "vitest";
import { type LocalCluster, startLocalCluster } from "../support/local-cluster.ts";
import { waitFor } from "../support/wait-for.ts";

type C = typeof hostContract;
type Unit = Output<C, "getUnit">;

let orders = 0;

function order(step: string): Order {
  orders++;
  return {
    operation: `op-${orders.toString(2).replace(/0/g, "a").replace(/1/g, "b").padStart(13, "a")}`,
    step,
    direction: "do",
    epoch: 1,
    resource: null,
    fence: null,
  };
}

/** A core part of a server, and the ids of the nodes by name. */
class Commander implements AsyncDisposable {
  readonly ids: ReadonlyMap<string, string>;
  readonly #bus: ConnectedBus;

  private constructor(bus: ConnectedBus, ids: ReadonlyMap<string, string>) {
    this.#bus = bus;
    this.ids = ids;
  }

  static async connect(lab: LocalCluster): Promise<Commander> {
    const nodes = await lab.nodes();
    const ids = new Map(nodes.map(({ id, name }) => [name, id]));
    const id = nodes[0]?.id ?? "";
    const dir = path.join(lab.dataDir, "nodes", id);
    const servers = nodes.flatMap(
      (node) => readMembership(path.join(lab.dataDir, "nodes", node.id))?.busServers.slice(0, 1) ?? [],
    );
    const tls = busTls(dir);
    const bus = await connectBus({
      ...(tls ? { tls } : {}),
      servers: [...new Set(servers)],
      credential: readCredential(dir, "node-agent", `node-agent-${id}`),
      origin: "core",
      node: { id, name: "test" },
      version: "0.1.0",
      log: silentLogger(),
    });
    return new Commander(bus, ids);
  }

  read<K extends "getFile" | "getUnit" | "getBoot">(node: string, operation: K, input: Request<C, K>) {
    return this.#bus.request(this.ids.get(node) ?? "", hostContract, operation, input);
  }

  /** Gives an order again until it is answered, as the engine does while a node is away. */
  async command<K extends "writeFile" | "restartUnit" | "rebootHost">(
    node: string,
    operation: K,
    input: Request<C, K>,
    how: Order,
    patienceMs = 60_000,
  ): Promise<Output<C, K>> {
    const deadline = performance.now() + patienceMs;
    for (;;) {
      try {
        return await this.#bus.command(this.ids.get(node) ?? "", hostContract, operation, input, how);
      } catch (error) {
        const { kind } = error as { kind?: string };
        if ((kind !== "unavailable" && kind !== "timeout") || performance.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#bus.close();
  }
}

async function restartEach(lab: LocalCluster, commander: Commander): Promise<void> {
  const { units, rebootable } = await commander.read("node-2", "getBoot", {});
  expect(rebootable).toBe(true);
  expect(units.map(({ name }) => name)).toEqual(expect.arrayContaining(["node-agent", "discovery", "gateway"]));
  expect(units.filter(({ state }) => state !== "running")).toEqual([]);
  for (const { name, invocation } of units) {
    const how = order(`restart-${name}`);
    const { before, after } = await commander.command(
      "node-2",
      "restartUnit",
      { unit: `debvisor-${name}.service` },
      how,
    );

    expect(before.invocation).toBe(invocation);
    expect(after).toMatchObject({ name, state: "running" });
    expect(after.invocation).not.toBe(invocation);
    // A repeat finds it done.
    expect((await commander.command("node-2", "restartUnit", { unit: name }, how)).after).toEqual(after);
    expect(await commander.read("node-2", "getUnit", { unit: name })).toEqual(after);
    // The others were left alone.
    const others = (all: readonly Unit[]) => all.filter((unit) => unit.name !== name).map((unit) => unit.invocation);
    const now = (await commander.read("node-2", "getBoot", {})).units;
    expect(others(now)).toEqual(others(units.map((unit) => now.find((same) => same.name === unit.name) ?? unit)));
  }
  await lab.untilState({ "node-1": "alive", "node-2": "alive", "node-3": "alive" }, 20_000);
}

test("each service of a node is restarted by itself where all of them share the node's process", async () => {
  await using lab = await startLocalCluster();
  await lab.untilReplicated();
  await using commander = await Commander.connect(lab);
  const pids = (await lab.nodes()).map(({ pid }) => pid);

  await restartEach(lab, commander);
  await expect(commander.read("node-2", "getUnit", { unit: "ssh" })).rejects.toMatchObject({
    code: "UNIT_NOT_MANAGED",
    details: { units: expect.arrayContaining(["gateway"]) },
  });

  expect((await lab.nodes()).map(({ pid }) => pid)).toEqual(pids);
  await waitFor(
    async () => (await lab.fetch("/v1/nodes", {}, 2).catch(() => undefined))?.status === 200,
    20_000,
    () => "the restarted gateway does not answer",
  );
});

test("each service of a node is restarted by itself where it has a process of its own", async () => {
  await using lab = await startLocalCluster({ flags: ["--processes"] });
  await lab.untilReplicated();
  await using commander = await Commander.connect(lab);
  const pidsOf = async () => new Map((await lab.nodes())[1]?.services.map(({ name, pid }) => [name, pid]));
  const before = await pidsOf();

  await restartEach(lab, commander);

  const after = await pidsOf();
  expect([...after.keys()]).toEqual([...before.keys()]);
  for (const [name, pid] of after) expect([name, pid]).not.toEqual([name, before.get(name)]);
});

test("nodes that are restarted come back as themselves, with another boot id, one after the other", async () => {
  await using lab = await startLocalCluster();
  await lab.untilReplicated();
  await using commander = await Commander.connect(lab);
  const before = await lab.nodes();
  const target = { contentBase64: Buffer.from("kept\n").toString("base64"), mode: null, owner: null, group: null };
  const written = order("write");
  await commander.command("node-3", "writeFile", { path: "/motd", target }, written);

  for (const name of ["node-3", "node-1"]) {
    const boot = await commander.read(name, "getBoot", {});
    const how = order("reboot");
    const { bootIdBefore, bootId } = await commander.command(name, "rebootHost", {}, how);

    expect(bootIdBefore).toBe(boot.bootId);
    expect(bootId).not.toBe(boot.bootId);
    expect(await commander.command(name, "rebootHost", {}, how)).toEqual({ bootIdBefore, bootId });
    const back = await commander.read(name, "getBoot", {});
    expect(back).toMatchObject({ bootId });
    expect(Date.parse(back.startedAt)).toBeGreaterThan(Date.parse(boot.startedAt));
    await lab.untilState({ "node-1": "alive", "node-2": "alive", "node-3": "alive" }, 40_000);
    await waitFor(
      async () => (await lab.fetch("/readyz").catch(() => undefined))?.status === 200,
      40_000,
      () => `the cluster cannot write after the restart of ${name}: ${lab.output.slice(-2_000)}`,
    );
  }

  const after = await lab.nodes();
  expect(after.map(({ id, name, state }) => [id, name, state])).toEqual(
    before.map(({ id, name }) => [id, name, "running"]),
  );
  expect(after.map(({ pid }, i) => pid === before[i]?.pid)).toEqual([false, true, false]);
  // The ledger went through the restart: a repeat is answered, the undo finds what was there before.
  const root = path.join(lab.dataDir, "nodes", commander.ids.get("node-3") ?? "", "root");
  expect(readFileSync(path.join(root, "motd"), "utf8")).toBe("kept\n");
  const undone = await commander.command(
    "node-3",
    "writeFile",
    { path: "/motd", target },
    { ...written, direction: "undo", epoch: 2 },
  );
  expect(undone).toMatchObject({ changed: true, after: null });
});
