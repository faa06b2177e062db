// SPDX-License-Identifier: Apache-2.0
/** Every type of operation against crashes at every call, failing steps, repeats, lost answers and two owners. Prints the table. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { type RunResult, torture, undoCalls } from "../../support/operation-torture.ts";
import { TortureBench } from "../../support/operation-torture-bench.ts";
import { crashes, doubleCrashes, failures, lostAndDoubled, races, repetitions } from "../../support/operation-torture-faults.ts";
import { allWorlds } from "../../support/operation-torture-worlds.ts";

const cluster = sharedBusCluster({ servers: 1 });
const worlds = allWorlds();
const results = new Map<string, readonly RunResult[]>();
let bench: TortureBench;

beforeAll(async () => {
  bench = new TortureBench(cluster());
  await bench.start();
  for (const world of worlds) await world.start(bench);
});
afterAll(async () => {
  await bench.stop();
  for (const [name, runs] of results) {
    const groups = Map.groupBy(runs, ({ fault }) => fault.group);
    for (const [group, all] of groups) {
      const n = (finding: string) => all.filter((one) => one.finding === finding && one.wrong.length === 0).length;
      const ms = all.reduce((sum, one) => sum + one.ms, 0);
      console.info(`${name.padEnd(18)} ${group.padEnd(38)} ${all.length} runs, before ${n("before")}, after ${n("after")}, mixed ${n("mixed")}, wrong ${all.filter(({ wrong }) => wrong.length > 0).length} ${ms} ms`);
    }
  }
  console.info(undoCalls);
});

const turns = new Map<string, Promise<void>>();
async function lanes(lane: string): Promise<AsyncDisposable> {
  const before = turns.get(lane);
  const { promise, resolve } = Promise.withResolvers<void>();
  turns.set(lane, promise);
  await before;
  return { [Symbol.asyncDispose]: () => Promise.resolve(resolve()) };
}

describe("under every fault", () => {
  test.concurrent.each(worlds)("$name", { timeout: 280_000 }, async (world) => {
    await using _turn = await lanes(world.lane);
    const runs = await torture(bench, world, (calls) => [
      ...crashes("apply", calls.apply),
      ...crashes("fail", calls.fail),
      ...doubleCrashes("apply", calls.apply),
      ...races("apply", calls.apply),
      ...failures().filter(({ drive }) => drive !== "fail" || world.undoable),
      ...repetitions("apply"),
      ...repetitions("fail"),
      ...lostAndDoubled("apply", calls.apply),
      ...crashes("cancel", calls.cancel),
      ...(world.undoable ? [...crashes("rollback", calls.rollback), ...repetitions("rollback")] : []),
    ]);
    results.set(world.name, runs);
    const wrong = runs.filter((run) => run.wrong.length > 0);
    expect(wrong.map(({ fault, state, wrong: why }) => `${world.name}/${fault.name} (${state}): ${why.join("\n")}`)).toEqual([]);
  });
});
