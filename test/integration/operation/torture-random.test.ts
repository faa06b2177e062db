// SPDX-License-Identifier: Apache-2.0
/**
 * Random kills (GOALS.md B6): several engines, many operations, engines that die and come, a message bus that is killed. Every
 * operation ends, none is without a live owner for longer than 15 s, and what is there is as the logs say. `DV_SEED` replays.
 */
import { expect, test } from "vitest";
import { startBusCluster } from "../../support/bus-cluster.ts";
import { randomKills } from "../../support/operation-torture-random.ts";
import { chosenSeed } from "../../support/seeded.ts";

test("operations end while engines and the bus are killed at random", { timeout: 100_000 }, async () => {
  const seed = chosenSeed();
  await using cluster = await startBusCluster({ servers: 1 });

  const report = await randomKills(cluster, { seed, operations: 60, engines: 3, kills: 5, brokerKills: 1 });

  process.stdout.write(`seed ${seed}: ${report.summary}\n`);
  expect(report.wrong, `seed ${seed}`).toEqual([]);
  expect(report.longestOrphanMs, `seed ${seed}`).toBeLessThanOrEqual(15_000);
  expect(report.adoptions, `seed ${seed}`).toBeGreaterThan(0);
});
