// SPDX-License-Identifier: Apache-2.0
/** Locks when one process sees the bucket late, or when others act for an operation behind its back. */
import { LockRecord } from "@debvisor/shared/operation/lock-records";
import type { LockTable } from "@debvisor/shared/operation/lock-table";
import { expect, test } from "vitest";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { waitFor } from "../../support/wait-for.ts";
import { claim, Laggard, LockRig, lossy } from "./lock-rig.ts";

const shared = sharedBusCluster({ servers: 1 });

function lockOn(table: LockTable, resource: string) {
  return table.list().find((lock) => lock.resource === resource);
}

/** Waits until a table shows that many in the queue of a resource. */
function queueOf(table: LockTable, resource: string, length: number): Promise<void> {
  const now = () => lockOn(table, resource)?.waiting.length ?? 0;
  return waitFor(
    () => now() === length,
    10_000,
    () => `${now()} wait for ${resource}`,
  );
}

test("a lock that is granted to somebody who has just left the queue goes to the next at once", async () => {
  const rig = new LockRig(shared());
  const laggard = new Laggard();
  const [slow, quick] = [await rig.open(laggard.wrap), await rig.open()];
  const resource = "node/left/service/x";
  const [holder, leaver, next] = [claim([resource]), claim([resource]), claim([resource])];
  await slow.acquire(holder, { wait: false });
  const left = expect(quick.acquire(leaver, { wait: true })).rejects.toMatchObject({ code: "CONFLICT" });
  await queueOf(slow, resource, 1);
  await waitFor(
    () => slow.blockersOf(leaver.operation).length === 1,
    5_000,
    () => "the slow one does not see the queue",
  );
  const granted = quick.acquire(next, { wait: true });
  await queueOf(slow, resource, 2);

  laggard.pause();
  await quick.release(leaver.operation);
  await left;
  const startedAt = performance.now();
  await slow.release(holder.operation);
  expect(lockOn(slow, resource)?.operation).toBe(leaver.operation);
  const fences = await granted;

  expect(performance.now() - startedAt).toBeLessThan(1_500);
  laggard.resume();
  await waitFor(
    () => lockOn(slow, resource)?.fence === fences[resource],
    5_000,
    () => JSON.stringify(slow.list()),
  );
});

test("a lock that was freed by somebody who saw no queue is granted by the sweep when the waiter's process is gone", async () => {
  const resource = "node/unseen/service/x";
  const { waiter, other } = await freedUnseen(resource);

  await waitFor(
    () => lockOn(other, resource)?.operation === waiter.operation,
    6_000,
    () => JSON.stringify(other.list()),
  );
  // Whoever adopts the operation finds the lock granted.
  const fences = await other.acquire(waiter, { wait: true });
  expect(fences[resource]).toBe(lockOn(other, resource)?.fence);
});

test("a newcomer does not overtake those that wait for a lock that is free at the moment", async () => {
  const resource = "node/newcomer/service/x";
  const { waiter, other } = await freedUnseen(resource);

  const refused = other.acquire(claim([resource], { priority: 9 }), { wait: false });

  await expect(refused).rejects.toMatchObject({
    code: "LOCK_HELD",
    details: { resource, holder: { operation: waiter.operation } },
  });
});

test("a place that somebody else removed is taken again while the operation lives, and given up when it has ended", async () => {
  const rig = new LockRig(shared());
  const [a, b] = [await rig.open(), await rig.open()];
  const resource = "node/removed/service/x";
  const [holder, lives, ended] = [claim([resource]), claim([resource]), claim([resource])];
  await a.acquire(holder, { wait: false });
  const granted = a.acquire(lives, { wait: true });
  const refused = expect(a.acquire(ended, { wait: true })).rejects.toMatchObject({ code: "CONFLICT" });
  await queueOf(b, resource, 2);

  rig.dead.add(ended.operation);
  await Promise.all([b.release(lives.operation), b.release(ended.operation)]);
  await refused;
  await queueOf(b, resource, 1);
  await b.release(holder.operation);

  expect((await granted)[resource]).toBeGreaterThan(0);
});

test("the entry of a waiter that could not be removed when it was granted is removed later", async () => {
  const rig = new LockRig(shared());
  const bucket = await (await rig.cluster.connectCore("node-agent")).bucket("dv_locks", LockRecord);
  const kinds = new Map<string, string | undefined>();
  const resource = "node/leftover/service/x";
  await bucket.watch(({ key, entry }) => {
    if (entry?.value.resource === resource) kinds.set(key, entry.value.kind);
  });
  let failing = 0;
  const table = await rig.open((bus) => lossy(bus, () => (failing > 0 && --failing === 0 ? "lost-request" : "ok")));
  const [holder, waiter] = [claim([resource]), claim([resource])];
  await table.acquire(holder, { wait: false });
  const granted = table.acquire(waiter, { wait: true });
  await queueOf(table, resource, 1);

  // The first write grants, the second one removes the waiter's entry.
  failing = 2;
  await table.release(holder.operation);
  await granted;
  expect([...kinds.values()].sort()).toEqual(["held", "waits"]);

  expect(table.blockersOf(waiter.operation)).toEqual([]);
  await expect.poll(() => [...kinds.values()].sort(), { timeout: 6_000 }).toEqual(["gone", "held"]);
  await table.release(waiter.operation);
  await expect.poll(() => [...kinds.values()].sort(), { timeout: 6_000 }).toEqual(["gone", "gone"]);
});

/** A lock whose holder freed it without having seen that somebody waits for it, whose process is gone. */
async function freedUnseen(resource: string) {
  const rig = new LockRig(shared());
  const laggard = new Laggard();
  const [slow, dying, other] = [await rig.open(laggard.wrap), await rig.open(), await rig.open()];
  const [holder, waiter] = [claim([resource]), claim([resource])];
  await slow.acquire(holder, { wait: false });
  laggard.pause();
  const ended = expect(dying.acquire(waiter, { wait: true })).rejects.toMatchObject({ code: "BUS_UNAVAILABLE" });
  await queueOf(other, resource, 1);
  await dying.stop();
  await ended;
  await slow.release(holder.operation);
  return { waiter, other };
}
