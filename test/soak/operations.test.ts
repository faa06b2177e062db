// SPDX-License-Identifier: Apache-2.0
/** The whole torture of operations: every fault at every moment, the bus and the node parts killed at each, and hours of random kills. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createTurns } from "../../services/node-agent/operations/turns.ts";
import { sharedBusCluster, startBusCluster } from "../support/bus-cluster.ts";
import { drivesOf, type Fault, type RunResult, runFault, torture } from "../support/operation-torture.ts";
import { TortureBench } from "../support/operation-torture-bench.ts";
import { brokerKills, faultsOf, nodeKills } from "../support/operation-torture-faults.ts";
import { randomKills } from "../support/operation-torture-random.ts";
import { tableOf, wrongOf } from "../support/operation-torture-table.ts";
import { ableWorlds, hostWorlds } from "../support/operation-torture-worlds.ts";
import { chosenSeed } from "../support/seeded.ts";

const ROUNDS = 20;

const cluster = sharedBusCluster({ servers: 1 });
const worlds = ableWorlds();
const killed = hostWorlds({ ownProcess: true }).map((world) => ({ ...world, name: `${world.name} (process)` }));
const results = new Map<string, readonly RunResult[]>();
const inTurn = createTurns();
let bench: TortureBench;

beforeAll(async () => {
  bench = new TortureBench(cluster());
  await bench.start();
  for (const world of [...worlds, ...killed]) await world.start(bench);
});
afterAll(async () => {
  await bench.stop();
  console.info(tableOf(results));
});

function keep(name: string, runs: readonly RunResult[]): void {
  results.set(name, [...(results.get(name) ?? []), ...runs]);
  expect(wrongOf(name, runs)).toEqual([]);
}

function numbersTo(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i + 1);
}

test.concurrent.each(worlds)("$name under every fault", async (world) => {
  const runs = await inTurn(world.lane, () =>
    torture(bench, world, ({ calls }) => faultsOf(calls, world.undoable, true)),
  );
  keep(world.name, runs);
});

describe("one after the other", () => {
  test.each(worlds)("$name, the bus killed at every append", async (world) => {
    const runs = await torture(bench, world, ({ appends }) =>
      drivesOf(world).flatMap((drive) => brokerKills(drive, numbersTo(appends[drive]))),
    );
    keep(world.name, runs);
  });

  test.each(killed)("$name, killed at every commit and every change of a folder", async (world) => {
    const [node] = (await world.fresh(bench)).nodes;
    const faults: Fault[] = [];
    for (const drive of drivesOf(world)) {
      node?.plan(undefined);
      await runFault(bench, world, { group: "none", name: "none", drive }, undefined);
      faults.push(...nodeKills(drive, numbersTo(node?.points ?? 0)));
    }
    keep(world.name, await torture(bench, world, () => faults));
  });
});

test("operations end while engines and the bus are killed at random, again and again", async () => {
  const seed = chosenSeed();
  for (let round = 0; round < ROUNDS; round++) {
    await using own = await startBusCluster({ servers: 1 });
    const options = { seed: seed + round, operations: 150, engines: 3, kills: 12, brokerKills: 3 };
    const report = await randomKills(own, options);
    console.info(`DV_SEED=${options.seed}: ${report.summary}`);
    expect(report.wrong, `DV_SEED=${options.seed}`).toEqual([]);
    expect(report.longestOrphanMs, `DV_SEED=${options.seed}`).toBeLessThanOrEqual(15_000);
  }
});
