// SPDX-License-Identifier: Apache-2.0
/** Two of three servers gone: nothing can be written, and every surface has to say so instead of showing old news. */
import { expect, test } from "vitest";
import { startLocalCluster } from "../support/local-cluster.ts";
import { waitFor } from "../support/wait-for.ts";

test("without a majority the API says that nothing can be written, shows who is silent, and comes back with the servers", async () => {
  await using lab = await startLocalCluster();
  await lab.untilReplicated();
  const readiness = async () => (await lab.fetch("/readyz").catch(() => undefined))?.status;

  await lab.dvctl("lab", "kill", "node-2");
  await lab.dvctl("lab", "kill", "node-3");
  await waitFor(
    async () => (await readiness()) === 503,
    25_000,
    () => "/readyz stayed 200",
  );
  await lab.untilState({ "node-1": "alive", "node-2": "lost", "node-3": "lost" }, 25_000);
  const status = JSON.parse((await lab.dvctl("status", "--component", "bus", "--format", "json")).stdout);
  const write = await lab.dvctl("tokens", "create", "refused", "--role", "viewer", "--timeout", "30");
  const read = await lab.dvctl("facts", "show", "--nodes", "node-1");
  await Promise.all([lab.dvctl("lab", "start", "node-2"), lab.dvctl("lab", "start", "node-3")]);
  await waitFor(
    async () => (await readiness()) === 200,
    60_000,
    () => "/readyz stayed 503",
  );
  await lab.untilState({ "node-2": "alive", "node-3": "alive" }, 30_000);
  // Ready means that writes are acknowledged; a leader may still move once more while the servers catch up.
  await waitFor(
    async () => (await lab.dvctl("tokens", "create", "accepted", "--role", "viewer")).code === 0,
    30_000,
    () => "no write was accepted again",
  );

  expect(status.components[0]).toMatchObject({ component: "bus", state: "failed" });
  expect(write.code).toBe(4);
  expect(read.code).toBe(0);
}, 240_000);
