// SPDX-License-Identifier: Apache-2.0
/**
 * Every type of operation against crashes at every call, failing steps, repeats, lost answers and two owners (RULES.md 25). Prints
 * the table. `DV_TORTURE=<part of the name of a fault>` replays that alone; the soak makes all of them.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTurns } from "../../../services/node-agent/operations/turns.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { type RunResult, torture, undoCalls } from "../../support/operation-torture.ts";
import { TortureBench } from "../../support/operation-torture-bench.ts";
import { faultsOf, fewOf, sealedFaultsOf, sparingFaultsOf } from "../../support/operation-torture-faults.ts";
import { tableOf, wrongOf } from "../../support/operation-torture-table.ts";
import { ableWorlds, allWorlds } from "../../support/operation-torture-worlds.ts";

const PATIENCE_MS = 400_000;

const cluster = sharedBusCluster({ servers: 1 });
const worlds = ableWorlds();
const results = new Map<string, readonly RunResult[]>();
const inTurn = createTurns();
let bench: TortureBench;

beforeAll(async () => {
  bench = new TortureBench(cluster());
  await bench.start();
  for (const world of worlds) await world.start(bench);
});
afterAll(async () => {
  await bench.stop();
  process.stdout.write(`${tableOf(results)}\n`);
});

const lacking = allWorlds().filter(({ name }) => !worlds.some((world) => world.name === name));
test.skipIf(lacking.length > 0)(
  `every world is there (lacking here: ${lacking.map(({ needs }) => needs).join()})`,
  () => {
    expect(worlds.length).toBeGreaterThan(0);
  },
);

test.concurrent.each(worlds)(
  "$name ends as before or as after, whatever happens",
  { timeout: PATIENCE_MS },
  async (world) => {
    const runs = await inTurn(world.lane, () =>
      torture(bench, world, ({ calls }) => {
        if (world.seals) return world.sparing ? fewOf(sealedFaultsOf(calls)) : sealedFaultsOf(calls);
        const faults = world.sparing ? sparingFaultsOf(calls) : faultsOf(calls, world.undoable, false);
        return faults.filter((_fault, i) => i % (world.every ?? 1) === 0);
      }),
    );

    results.set(world.name, runs);
    expect(wrongOf(world.name, runs)).toEqual([]);
    // A test of undo must prove that it got there.
    const undone = [...undoCalls].filter(([key]) => key.startsWith(`${world.name}/`));
    expect(undone.length > 0).toBe(world.undoable || world.seals === true);
  },
);
