// SPDX-License-Identifier: Apache-2.0
/** The demo of issue 3 while processes are killed. `test/soak/demo.test.ts` does it for minutes. */
import { expect, test, vi } from "vitest";
import { runDemo } from "../support/demo-run.ts";
import { startLocalCluster } from "../support/local-cluster.ts";
import { chosenSeed } from "../support/seeded.ts";

/** A folder in which everything stays for a look afterwards. */
const KEPT = process.env["DV_DEMO_DIR"];
const REST_MS = Number(process.env["DV_DEMO_REST_MS"] ?? 6_000);
const RUN_MS = Number(process.env["DV_DEMO_MS"] ?? 20_000);

test("what the commands of the demo say is true, and nothing is left behind, while services are killed at random", async () => {
  const seed = chosenSeed();
  console.info(`seed ${seed}`);
  // The trail closes what nobody runs any more after 60 s; four times sooner, so that this test ends sooner.
  vi.stubEnv("DV_AUDIT_ORPHAN_AFTER_MS", "15000");
  await using lab = await startLocalCluster({ flags: ["--processes"], ...(KEPT ? { dataDir: KEPT } : {}) });
  await lab.untilReplicated();

  const { problems, summary } = await runDemo(lab, { seed, forMs: RUN_MS, storeRestMs: REST_MS });

  console.info(summary);
  expect(problems).toEqual([]);
}, 300_000);
