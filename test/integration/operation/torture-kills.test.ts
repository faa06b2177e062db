// SPDX-License-Identifier: Apache-2.0
/** Operations while the message bus and the node parts are killed with SIGKILL; a selection of the moments, the soak takes all. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { type Drive, type RunResult, runFault, torture } from "../../support/operation-torture.ts";
import { TortureBench } from "../../support/operation-torture-bench.ts";
import { brokerKills, nodeKills } from "../../support/operation-torture-faults.ts";
import { tableOf, wrongOf } from "../../support/operation-torture-table.ts";
import { ableWorlds, hostWorlds } from "../../support/operation-torture-worlds.ts";

const PATIENCE_MS = 150_000;
/** Appends of an operation that succeeds: created, locks, running, done, end, closed. */
const APPENDS = 6;

const cluster = sharedBusCluster({ servers: 1 });
const results = new Map<string, readonly RunResult[]>();
const killed = hostWorlds({ ownProcess: true }).map((world) => ({ ...world, name: `${world.name} (process)` }));
/** One of each kind; the soak takes all of them. */
const BUS_KILLED = ["put-file ×3", "restart-service", "reboot-nodes", "remove-file", "enable node", "disable cluster"];
const worlds = ableWorlds().filter(({ name }) => BUS_KILLED.includes(name));
let bench: TortureBench;

beforeAll(async () => {
  bench = new TortureBench(cluster());
  await bench.start();
  for (const world of [...killed, ...worlds]) await world.start(bench);
});
afterAll(async () => {
  await bench.stop();
  process.stdout.write(`${tableOf(results)}\n`);
});

describe("killing the node part", () => {
  test.each(killed)("$name: ends as before or as after", { timeout: PATIENCE_MS }, async (world) => {
    const [node] = (await world.fresh(bench)).nodes;
    const drives: readonly Drive[] = world.undoable ? ["apply", "fail"] : ["apply"];
    const points: number[] = [];
    for (const drive of drives) {
      node?.plan(undefined);
      await runFault(bench, world, { group: "none", name: "none", drive }, undefined);
      points.push(node?.points ?? 0);
    }
    const deaths = node?.deaths ?? 0;

    const runs = await torture(
      bench,
      world,
      () =>
        drives.flatMap((drive, i) => {
          const last = points[i] ?? 1;
          return nodeKills(drive, [...new Set([1, last])], drive === "apply" ? undefined : ["after"]);
        }),
      ["apply"],
    );

    results.set(world.name, runs);
    expect(wrongOf(world.name, runs)).toEqual([]);
    const planned = runs.filter(({ fault }) => fault.name.startsWith("node/")).length;
    expect((node?.deaths ?? 0) - deaths).toBe(planned);
  });
});

describe("killing the message bus", () => {
  test.each(worlds.map((world, i) => [world.name, world, i] as const))(
    "%s: ends as before or as after",
    { timeout: PATIENCE_MS },
    async (_name, world, i) => {
      const faults = brokerKills("apply", [1 + (i % APPENDS)], [i % 2 === 0 ? "before" : "after"]);
      const runs = await torture(bench, world, () => faults, ["apply"]);

      results.set(world.name, runs);
      expect(wrongOf(world.name, runs)).toEqual([]);
    },
  );
});
