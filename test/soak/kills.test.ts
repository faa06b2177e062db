// SPDX-License-Identifier: Apache-2.0
/** Fifty kills in random order; the seed is printed, DV_SEED replays it. */
import { expect, test } from "vitest";
import { runKills, type Victim } from "../support/kill-run.ts";
import { startLocalCluster } from "../support/local-cluster.ts";
import { chosenSeed, randomNumbers } from "../support/seeded.ts";

const KILLS = 50;
const PARTS = ["nats-server", "gateway", "discovery", "node-agent"];

test("fifty kills: no event is missed or seen twice, every acknowledged write is there once", async () => {
  const seed = chosenSeed();
  console.info(`seed ${seed}`);
  const random = randomNumbers(seed);
  const victims = Array.from(
    { length: KILLS },
    (): Victim => ({ node: `node-${1 + random(3)}`, part: PARTS[random(PARTS.length)] ?? "gateway" }),
  );
  await using lab = await startLocalCluster({ flags: ["--processes"] });
  await lab.untilReplicated();

  const { followed, acknowledged, existing, recoveryMs } = await runKills(lab, victims);

  expect(followed).toEqual(Array.from({ length: followed.length }, (_, i) => i + 1));
  expect(new Set(existing).size).toBe(existing.length);
  expect(acknowledged.filter((name) => !existing.includes(name))).toEqual([]);
  console.info(
    `slowest recovery ${Math.max(...recoveryMs)} ms; ${followed.length} events, ${acknowledged.length} writes`,
  );
});
