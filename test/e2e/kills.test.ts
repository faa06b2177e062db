// SPDX-License-Identifier: Apache-2.0
/** kill -9 of nats-servers, gateways and services, each in its own process. `test/soak/kills.test.ts` does it fifty times. */
import { expect, test } from "vitest";
import { runKills } from "../support/kill-run.ts";
import { startLocalCluster } from "../support/local-cluster.ts";

test("six kills: the rest goes on, no event is missed or seen twice, every acknowledged write is there once", async () => {
  await using lab = await startLocalCluster({ flags: ["--processes"] });
  await lab.untilReplicated();

  const { followed, acknowledged, existing, recoveryMs } = await runKills(lab, [
    { node: "node-1", part: "nats-server" },
    { node: "node-1", part: "gateway" },
    { node: "node-2", part: "discovery" },
    { node: "node-3", part: "node-agent" },
    { node: "node-2", part: "nats-server" },
    { node: "node-2", part: "gateway" },
  ]);

  expect(followed).toEqual(Array.from({ length: followed.length }, (_, i) => i + 1));
  expect(new Set(existing).size).toBe(existing.length);
  expect(acknowledged.filter((name) => !existing.includes(name))).toEqual([]);
  console.info(
    `recovery after each kill: ${recoveryMs.join(", ")} ms; ${followed.length} events, ${acknowledged.length} writes`,
  );
});
