// SPDX-License-Identifier: Apache-2.0
/** Nodes that are killed, come back, and clusters that are stopped, resumed and made larger. */
import { expect, test } from "vitest";
import {
  type LocalCluster,
  processesMentioning,
  startLocalCluster,
  temporaryFolder,
} from "../support/local-cluster.ts";
import { waitFor } from "../support/wait-for.ts";

interface SeenEvent {
  readonly seq: number;
  readonly type: string;
  readonly data: { readonly name: string };
}

async function nodeEvents(lab: LocalCluster, name: string): Promise<string[]> {
  const { stdout } = await lab.dvctl(
    "events",
    "follow",
    "--filter",
    "discovery.node.*",
    "--since",
    "0",
    "--until-caught-up",
    "--format",
    "json",
  );
  const events = stdout
    .trim()
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as SeenEvent);
  return events
    .filter(({ data }) => data.name === name)
    .map(({ type }) => type.replace("discovery.node.", ""))
    .filter((fact) => fact !== "updated");
}

function untilEvent(lab: LocalCluster, name: string, fact: string): Promise<void> {
  return waitFor(
    async () => (await nodeEvents(lab, name)).includes(fact),
    15_000,
    () => `no event says that ${name} is ${fact}`,
  );
}

test("a killed node becomes suspect, then lost; a fan-out meanwhile ends on time and names it; started again it is alive", async () => {
  await using lab = await startLocalCluster();
  await lab.untilReplicated();
  const before = await lab.nodes();

  await lab.dvctl("lab", "kill", "node-3");
  const fanOut = await lab.dvctl("metrics", "show", "--nodes", "all", "--format", "json");
  await lab.untilState({ "node-3": "suspect" }, 12_000);
  await lab.untilState({ "node-3": "lost", "node-1": "alive", "node-2": "alive" }, 20_000);
  // The list shows silence at once; the events follow when the registry has written it.
  await untilEvent(lab, "node-3", "lost");
  const back = await lab.dvctl("lab", "start", "node-3");
  await lab.untilState({ "node-3": "alive" }, 30_000);
  await untilEvent(lab, "node-3", "returned");

  expect(fanOut.code).toBe(5);
  expect(fanOut.ms).toBeLessThan(10_000);
  const { census, results } = JSON.parse(fanOut.stdout) as {
    census: object;
    results: { name: string; status: string }[];
  };
  expect(census).toMatchObject({ total: 3, ok: 2 });
  expect(results.find(({ status }) => status !== "ok")?.name).toBe("node-3");
  expect(back.code).toBe(0);
  expect((await lab.nodes()).map(({ id }) => id)).toEqual(before.map(({ id }) => id));
  expect(await nodeEvents(lab, "node-3")).toEqual(["appeared", "suspected", "lost", "returned"]);
});

test("stopped and started again, it is the same cluster with its data; nothing is left running", async () => {
  using folder = temporaryFolder();
  const first = await startLocalCluster({ dataDir: folder.dir });
  await first.dvctl("tokens", "create", "kept", "--role", "viewer");
  const before = await first.nodes();
  const stopMs = await first.stop();
  const left = await processesMentioning(folder.dir);

  await using again = await startLocalCluster({ dataDir: folder.dir });
  const tokens = JSON.parse((await again.dvctl("tokens", "list", "--format", "json")).stdout) as {
    items: { name: string }[];
  };
  await again.untilState({ "node-1": "alive", "node-2": "alive", "node-3": "alive" }, 15_000);

  expect(stopMs).toBeLessThan(5_000);
  expect(left).toEqual([]);
  expect((await again.nodes()).map(({ id }) => id)).toEqual(before.map(({ id }) => id));
  expect(tokens.items.map(({ name }) => name)).toContain("kept");
  expect(await nodeEvents(again, "node-2")).toEqual(expect.arrayContaining(["appeared"]));
  expect((await nodeEvents(again, "node-2")).filter((fact) => fact === "appeared")).toHaveLength(1);
});

test("a cluster of one comes back by itself and can grow to five with its data", async () => {
  using folder = temporaryFolder();
  const one = await startLocalCluster({ dataDir: folder.dir, flags: ["--nodes", "1"] });
  await one.dvctl("tokens", "create", "first", "--role", "viewer");
  await one.stop();
  const again = await startLocalCluster({ dataDir: folder.dir });
  expect((await again.nodes()).map(({ name }) => name)).toEqual(["node-1"]);
  await again.stop();

  await using five = await startLocalCluster({ dataDir: folder.dir, flags: ["--nodes", "5"] });
  const tokens = JSON.parse((await five.dvctl("tokens", "list", "--format", "json")).stdout) as {
    items: { name: string }[];
  };
  const fanOut = JSON.parse((await five.dvctl("metrics", "show", "--nodes", "all", "--format", "json")).stdout);

  expect(tokens.items.map(({ name }) => name)).toContain("first");
  expect(fanOut.census).toMatchObject({ total: 5, ok: 5 });
});

test("fewer nodes than the folder holds are refused instead of leaving some out", async () => {
  using folder = temporaryFolder();
  const lab = await startLocalCluster({ dataDir: folder.dir, flags: ["--nodes", "2"] });
  await lab.stop();

  await expect(startLocalCluster({ dataDir: folder.dir, flags: ["--nodes", "1"] })).rejects.toThrow(/holds 2 nodes/);
});

test("with --respawn a node whose process is killed comes back by itself, and leaves nothing of its first life behind", async () => {
  await using lab = await startLocalCluster({ flags: ["--nodes", "2", "--respawn"] });
  const first = (await lab.nodes()).find(({ name }) => name === "node-2");

  process.kill(first?.pid ?? 0, "SIGKILL");
  await waitFor(
    async () => ![null, undefined, first?.pid].includes((await lab.nodes()).find(({ name }) => name === "node-2")?.pid),
    10_000,
    () => "node-2 was not started again",
  );
  await lab.untilState({ "node-2": "alive" }, 15_000);

  expect((await processesMentioning(first?.id ?? "none")).length).toBe(1);
});

test("when the launcher itself is killed, the nodes stop and nothing is left running", async () => {
  using folder = temporaryFolder();
  const lab = await startLocalCluster({ dataDir: folder.dir });

  await lab.killLauncher();
  await waitFor(
    async () => (await processesMentioning(folder.dir)).length === 0,
    8_000,
    () => "nodes were left running",
  );
  await using again = await startLocalCluster({ dataDir: folder.dir });

  expect((await again.dvctl("nodes", "list")).code).toBe(0);
});

test("a node that dies while the cluster forms does not hold it up, and joins when it is started", async () => {
  await using lab = await startLocalCluster({ flags: ["--respawn"], killWhenFound: "node-2" });
  const tokens = await lab.dvctl("tokens", "create", "kept", "--role", "viewer");
  const raised = await lab.dvctl(
    ...["events", "follow", "--filter", "cluster.replicas.raised", "--since", "0", "--count", "1", "--timeout", "60"],
  );

  expect([tokens.code, raised.code]).toEqual([0, 0]);
  expect((await lab.nodes()).every(({ natsPid }) => natsPid !== null)).toBe(true);
});
