// SPDX-License-Identifier: Apache-2.0
/** The demo of issue 3 for five minutes while processes are killed at random; DV_SEED replays a run. */
import { expect, test } from "vitest";
import { runDemo } from "../support/demo-run.ts";
import { startLocalCluster } from "../support/local-cluster.ts";
import { chosenSeed } from "../support/seeded.ts";

const RUN_MS = 300_000;

test("five minutes of kills: what the commands say is true, and nothing is left behind", async () => {
  const seed = chosenSeed();
  console.info(`seed ${seed}`);
  await using lab = await startLocalCluster({ flags: ["--processes"] });
  await lab.untilReplicated();

  const { problems, summary } = await runDemo(lab, { seed, forMs: RUN_MS });

  console.info(summary);
  expect(problems).toEqual([]);
});
