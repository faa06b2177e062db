// SPDX-License-Identifier: Apache-2.0
/** Buckets: compare-and-set, time to live, deleting and watching, also after the server was killed. */
import type { Bucket, BucketChange } from "@debvisor/shared/bus/bus";
import { expect, test } from "vitest";
import { z } from "zod";
import { type BusCluster, sharedBusCluster, startBusCluster } from "../../support/bus-cluster.ts";

const shared = sharedBusCluster({ servers: 1 });
const Value = z.object({ text: z.string() });
type Value = z.output<typeof Value>;

/** A bucket whose keys may expire, as the core part of discovery sees it. */
async function openLeases(cluster: BusCluster): Promise<Bucket<Value>> {
  return (await cluster.connectCore("discovery")).bucket("dv_leases", Value);
}

test("create writes a key that is not there, and only that", async () => {
  const bucket = await openLeases(shared());

  const revision = await bucket.create("create", { text: "mine" });

  expect(await bucket.get("create")).toEqual({ key: "create", value: { text: "mine" }, revision });
  await expect(bucket.create("create", { text: "yours" })).rejects.toMatchObject({ code: "CONFLICT" });
  expect(await bucket.get("create-not")).toBeUndefined();
});

test("of many writers of one revision exactly one wins", async () => {
  const buckets = await Promise.all(Array.from({ length: 5 }, () => openLeases(shared())));
  const [first] = buckets;
  const revision = (await first?.create("race", { text: "start" })) ?? 0;

  for (const ttl of [{}, { ttlSeconds: 60 }]) {
    const current = (await first?.get("race"))?.revision ?? revision;
    const results = await Promise.allSettled(
      buckets.map((bucket, index) => bucket.update("race", { text: String(index) }, current, ttl)),
    );

    const lost = results.filter((result) => result.status === "rejected");
    expect(lost.map(({ reason }) => (reason as { code: string }).code)).toEqual(Array(4).fill("CONFLICT"));
    const winner = results.findIndex(({ status }) => status === "fulfilled");
    expect((await first?.get("race"))?.value).toEqual({ text: String(winner) });
  }
});

test("delete with an old revision is refused; a deleted key can be created again", async () => {
  const bucket = await openLeases(shared());
  const old = await bucket.create("delete", { text: "a" });
  const revision = await bucket.update("delete", { text: "b" }, old);

  await expect(bucket.delete("delete", old)).rejects.toMatchObject({ code: "CONFLICT" });
  await bucket.delete("delete", revision);

  expect(await bucket.get("delete")).toBeUndefined();
  expect(await bucket.create("delete", { text: "c" })).toBeGreaterThan(revision);
});

test("a key with a time to live goes by itself, an update with one prolongs it, and watchers see both", async () => {
  const bucket = await openLeases(shared());
  const changes = await watch(bucket, "expire");
  const startedAt = performance.now();

  const revision = await bucket.create("expire", { text: "a" }, { ttlSeconds: 1 });
  await bucket.update("expire", { text: "b" }, revision, { ttlSeconds: 2 });

  await expect.poll(() => bucket.get("expire"), { timeout: 10_000, interval: 20 }).toBeUndefined();
  expect(performance.now() - startedAt).toBeGreaterThan(1_900);
  await expect.poll(() => changes.map(({ entry }) => entry?.value.text)).toEqual(["a", "b", undefined]);
  await expect(bucket.create("expire", { text: "c" }, { ttlSeconds: 1 })).resolves.toBeGreaterThan(revision);
});

test("a value that the schema refuses reads as absent and does not stop a watcher", async () => {
  const discovery = await shared().connectCore("discovery");
  const loose = await discovery.bucket("dv_leases", z.unknown());
  const strict = await discovery.bucket("dv_leases", Value);
  const changes = await watch(strict, "schema");

  const revision = await loose.create("schema", { text: 5 });
  const absent = await strict.get("schema");
  await loose.update("schema", { text: "good" }, revision);

  expect(absent).toBeUndefined();
  await expect.poll(() => changes.map(({ entry }) => entry?.value.text)).toEqual([undefined, "good"]);
});

test("a bucket keeps its entries and a watcher goes on when the server is killed", async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  const bucket = await openLeases(cluster);
  const revision = await bucket.create("kept", { text: "before" });
  await bucket.create("short", { text: "goes" }, { ttlSeconds: 2 });
  const [kept, short] = [await watch(bucket, "kept"), await watch(bucket, "short")];
  const { pid } = cluster.server(0);

  cluster.server(0).kill();
  await cluster.server(0).recovered(pid);

  await expect
    .poll(() => bucket.get("kept").catch(() => "unavailable"), { timeout: 15_000 })
    .toEqual({ key: "kept", value: { text: "before" }, revision });
  await bucket.update("kept", { text: "after" }, revision);
  await expect.poll(() => kept.map(({ entry }) => entry?.value.text), { timeout: 15_000 }).toEqual(["before", "after"]);
  // Its time to live goes on over the restart.
  await expect
    .poll(() => short.map(({ entry }) => entry?.value.text), { timeout: 15_000 })
    .toEqual(["goes", undefined]);
});

/** Changes of one key, collected from now on; returns after the first pass. */
async function watch(bucket: Bucket<Value>, key: string): Promise<BucketChange<Value>[]> {
  const changes: BucketChange<Value>[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  await bucket.watch((change) => void (change.key === key && changes.push(change)), resolve);
  await promise;
  return changes;
}
