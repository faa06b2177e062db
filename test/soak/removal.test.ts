// SPDX-License-Identifier: Apache-2.0
/** Servers that come and go: one takes the place of a lost one and gets its replicas, and one to spare leaves its own to the others. */
import { assetNames, laggingStreams, streamsOn } from "@debvisor/shared/bus/admin";
import { raiseReplicas } from "@debvisor/shared/bus/placement";
import { expect, test, vi } from "vitest";
import { idOf, startRemovalRig } from "../integration/discovery/removal-rig.ts";
import { startBusCluster } from "../support/bus-cluster.ts";

test("a lost server is replaced, and of four one is spared", { timeout: 180_000 }, async () => {
  await using cluster = await startBusCluster({ servers: 3 });
  const rig = await startRemovalRig(cluster);
  const { manager } = await cluster.admin();
  const lost = cluster.server(2);
  await cluster.retire(lost);
  await rig.lose(idOf(lost.name));
  await vi.waitFor(() => rig.remove(idOf(lost.name), "plan"), { timeout: 20_000 });
  expect(await rig.remove(idOf(lost.name))).toMatchObject({ state: "succeeded" });

  await cluster.grow(4, { raise: false });
  const names = cluster.servers.map(({ name }) => name);
  const joined = names.slice(2);
  for (const name of joined) await rig.enter(idOf(name), "server");
  await raiseReplicas(manager, 3, 30_000);
  const held = await Promise.all(joined.map((name) => streamsOn(manager, name)));
  // The bus places replicas as it likes, and may have left one of the two without any.
  const spared = joined[(held[0]?.length ?? 0) > 0 ? 0 : 1] ?? "";
  const done = await rig.remove(idOf(spared));

  expect(held.flat().length).toBeGreaterThanOrEqual(assetNames().length);
  expect(done).toMatchObject({ state: "succeeded", error: null });
  expect(done.plan.steps[0]?.id).toBe("streams");
  expect(await streamsOn(manager, spared)).toEqual([]);
  expect(await rig.peers()).toEqual(names.filter((name) => name !== spared).sort());
  expect(await laggingStreams(manager)).toEqual([]);
  await rig.stop();
});
