// SPDX-License-Identifier: Apache-2.0
/** Locks on a real bucket: one holder at a time, a fair queue, and nobody lost, whatever breaks. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { toDvError } from "@debvisor/shared/errors";
import type { LockTable } from "@debvisor/shared/operation/lock-table";
import { expect, test } from "vitest";
import { sharedBusCluster, startBusCluster } from "../../support/bus-cluster.ts";
import { waitFor } from "../../support/wait-for.ts";
import { claim, type Fate, LockRig, lossy, operationId } from "./lock-rig.ts";

const shared = sharedBusCluster({ servers: 1 });
const WAITERS = 1_000;
const turn = () => new Promise((resolve) => setImmediate(resolve));

function waitingFor(table: LockTable, resource: string): string[] {
  const lock = table.list().find((one) => one.resource === resource);
  return lock?.waiting.map(({ operation }) => operation) ?? [];
}

/** Waits until a table shows that many in the queue of a resource. */
function queueOf(table: LockTable, resource: string, length: number, patienceMs = 10_000): Promise<void> {
  const now = () => waitingFor(table, resource).length;
  return waitFor(
    () => now() === length,
    patienceMs,
    () => `${now()} wait for ${resource}, not ${length}`,
  );
}

/** Takes, looks whether it is alone, and gives back; the fence goes to `fences` in the order of granting. */
class Critical {
  readonly fences: number[] = [];
  readonly order: string[] = [];
  readonly overlaps: string[] = [];
  #inside: string | undefined;

  async run(table: LockTable, resource: string, operation = operationId(), priority = 0): Promise<void> {
    const fences = await table.acquire(claim([resource], { operation, priority }), { wait: true });
    if (this.#inside) this.overlaps.push(`${operation} while ${this.#inside}`);
    this.#inside = operation;
    this.fences.push(fences[resource] ?? 0);
    this.order.push(operation);
    await turn();
    this.#inside = undefined;
    await table.release(operation);
  }

  expectGrowingFences(): void {
    for (const [index, fence] of this.fences.entries()) expect(fence).toBeGreaterThan(this.fences[index - 1] ?? 0);
  }
}

test("of fifty that race over two connections one at a time has the lock, with ever greater fences", async () => {
  const rig = new LockRig(shared());
  const tables = [await rig.open(), await rig.open()];
  const critical = new Critical();

  await Promise.all(
    Array.from({ length: 50 }, (_, index) => critical.run(tables[index % 2] as LockTable, "node/race/service/x")),
  );

  expect(critical.overlaps).toEqual([]);
  expect(critical.order).toHaveLength(50);
  critical.expectGrowingFences();
  await waitFor(
    () => tables.every((table) => table.list().length === 0),
    5_000,
    () => JSON.stringify(tables.map((table) => table.list())),
  );
});

test("without waiting it fails at once, names the holder, and gives back what it took but not what it had", async () => {
  const rig = new LockRig(shared());
  const [a, b] = [await rig.open(), await rig.open()];
  const holder = claim(["node/busy/2"], { actor: "bea", reason: "disk swap" });
  await a.acquire(holder, { wait: false });
  const asker = operationId();
  const had = await b.acquire(claim(["node/busy/0"], { operation: asker }), { wait: false });

  const refused = b.acquire(claim(["node/busy/2", "node/busy/1", "node/busy/0"], { operation: asker }), {
    wait: false,
  });

  await expect(refused).rejects.toMatchObject({
    code: "LOCK_HELD",
    details: {
      resource: "node/busy/2",
      holder: { operation: holder.operation, type: holder.type, actor: "bea", reason: "disk swap" },
    },
  });
  const mine = b.list().filter(({ operation }) => operation === asker);
  expect(mine.map(({ resource, fence }) => [resource, fence])).toEqual([["node/busy/0", had["node/busy/0"]]]);
  await a.release(holder.operation);
  const all = await b.acquire(claim(["node/busy/1", "node/busy/0"], { operation: asker }), { wait: false });
  expect(all["node/busy/0"]).toBe(had["node/busy/0"]);
});

test("what was given back over one connection can be taken over another at once", async () => {
  const rig = new LockRig(shared());
  const tables = [await rig.open(), await rig.open()];

  for (let round = 0; round < 40; round++) {
    const one = claim(["node/ping/a", "node/ping/b"]);
    const table = tables[round % 2] as LockTable;
    await table.acquire(one, { wait: false });
    await table.release(one.operation);
  }
});

test("a lock is granted by priority, then in the order of asking, over two connections", async () => {
  const rig = new LockRig(shared());
  const tables = [await rig.open(), await rig.open()];
  const [first] = tables as [LockTable];
  const resource = "node/fair/service/x";
  const holder = claim([resource]);
  await first.acquire(holder, { wait: false });
  const critical = new Critical();
  const asked: { operation: string; priority: number; index: number }[] = [];
  const runs: Promise<void>[] = [];

  for (const [index, priority] of [0, 5, 0, -1, 9, 5, 0, 9, -1, 0].entries()) {
    const operation = operationId();
    asked.push({ operation, priority, index });
    runs.push(critical.run(tables[index % 2] as LockTable, resource, operation, priority));
    await queueOf(first, resource, index + 1);
  }
  expect(first.blockersOf(asked[3]?.operation ?? "").map(({ operation }) => operation)).toEqual([holder.operation]);
  await first.release(holder.operation);
  await Promise.all(runs);

  asked.sort((a, b) => b.priority - a.priority || a.index - b.index);
  expect(critical.order).toEqual(asked.map(({ operation }) => operation));
  expect(critical.overlaps).toEqual([]);
});

test("who waits is told of each blocker once, keeps its place when it asks again, and can leave the queue", async () => {
  const rig = new LockRig(shared());
  const [a, b] = [await rig.open(), await rig.open()];
  const resource = "node/told/service/x";
  const [one, two, three, four] = [claim([resource]), claim([resource]), claim([resource]), claim([resource])];
  await a.acquire(one, { wait: false });
  const second = a.acquire(two, { wait: true });
  await queueOf(a, resource, 1);
  const told: string[] = [];
  const stop = new AbortController();
  const onWait = ({ operation }: { operation: string }) => void told.push(operation);
  const third = a.acquire(three, { wait: true, signal: stop.signal, onWait });
  await queueOf(a, resource, 2);
  const ending = b.acquire(four, { wait: true }).then(
    () => "granted",
    (error: unknown) => toDvError(error).code,
  );
  await queueOf(b, resource, 3);

  stop.abort(new Error("this process stops"));
  await expect(third).rejects.toThrow("this process stops");
  expect(waitingFor(a, resource)).toEqual([two, three, four].map(({ operation }) => operation));
  const adopted = b.acquire(three, { wait: true, onWait });
  await waitFor(
    () => told.length === 2,
    5_000,
    () => told.join(),
  );
  await a.release(one.operation);
  await second;
  await waitFor(
    () => told.length === 3,
    5_000,
    () => told.join(),
  );
  await a.release(two.operation);
  const fences = await adopted;
  expect(told).toEqual([one.operation, one.operation, two.operation]);
  expect(await b.acquire(three, { wait: false })).toEqual(fences);

  // Given up in the very moment in which the lock comes to it: then nobody must keep it.
  await Promise.all([b.release(four.operation), a.release(three.operation)]);
  expect(await ending).toMatch(/^(granted|CONFLICT)$/);
  await a.acquire(claim([resource]), { wait: true, signal: AbortSignal.timeout(5_000) });
});

test("the lock of an operation that is not live goes to the next, not before two looks and within 15 s", async () => {
  const rig = new LockRig(shared());
  const [a, b] = [await rig.open(), await rig.open()];
  const resource = "node/dead/service/x";
  const [holder, ghost, next] = [claim([resource]), claim([resource], { priority: 9 }), claim([resource])];
  await a.acquire(holder, { wait: false });
  const stop = new AbortController();
  const gone = a.acquire(ghost, { wait: true, signal: stop.signal });
  await queueOf(b, resource, 1);
  stop.abort(new Error("its process died"));
  await expect(gone).rejects.toThrow();
  const granted = b.acquire(next, { wait: true });
  await queueOf(b, resource, 2);
  const startedAt = performance.now();

  rig.dead.add(holder.operation).add(ghost.operation);
  await granted;

  const tookMs = performance.now() - startedAt;
  process.stdout.write(`freed after ${Math.round(tookMs)} ms\n`);
  expect(tookMs).toBeGreaterThan(9_500);
  expect(tookMs).toBeLessThan(15_000);
});

test("twenty that wait are all granted, each once, when the server is killed twice", async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  const rig = new LockRig(cluster);
  const tables = [await rig.open(), await rig.open()];
  const [first] = tables as [LockTable];
  const resource = "node/kill/service/x";
  const holder = claim([resource]);
  await first.acquire(holder, { wait: false });
  const critical = new Critical();
  const runs = Array.from({ length: 20 }, (_, index) => critical.run(tables[index % 2] as LockTable, resource));
  const done = Promise.all(runs);
  await queueOf(first, resource, 20);

  await killServer(cluster);
  expect(waitingFor(first, resource)).toHaveLength(20);
  await first.release(holder.operation);
  await waitFor(
    () => critical.order.length >= 5,
    20_000,
    () => `${critical.order.length} were granted`,
  );
  await killServer(cluster);
  await done;

  expect(critical.overlaps).toEqual([]);
  expect(new Set(critical.order).size).toBe(20);
  expect(critical.order).toHaveLength(20);
  critical.expectGrowingFences();
});

test("writes and answers that are lost cost neither a lock nor a place, and nobody is granted twice", async () => {
  const rig = new LockRig(shared());
  const fates: readonly Fate[] = ["ok", "lost-answer", "ok", "lost-request", "lost-answer"];
  let next = 0;
  const fate = () => fates[next++ % fates.length] ?? "ok";
  const tables = [await rig.open((bus) => lossy(bus, fate)), await rig.open((bus) => lossy(bus, fate))];
  const critical = new Critical();

  await Promise.all(
    Array.from({ length: 30 }, (_, index) => critical.run(tables[index % 2] as LockTable, "node/lossy/service/x")),
  );

  expect(critical.overlaps).toEqual([]);
  expect(new Set(critical.order).size).toBe(30);
  critical.expectGrowingFences();
  expect(next).toBeGreaterThan(60);
});

test("a thousand that wait cost a release two writes, slow down nobody else, and take little memory", async () => {
  const rig = new LockRig(shared());
  let writes = 0;
  const count = (): Fate => {
    writes++;
    return "ok";
  };
  const counted = () => rig.open((bus) => lossy(bus, count));
  const [a, b] = [await counted(), await counted()];
  const resource = "node/crowd/service/x";
  const claims = Array.from({ length: WAITERS }, () => claim([resource]));
  const holder = claim([resource]);
  await a.acquire(holder, { wait: false });
  let blockers = 0;
  const onWait = () => void blockers++;
  const waiting = claims.map((one, index) => (index % 2 ? a : b).acquire(one, { wait: true, onWait }));
  const ends = Promise.allSettled(waiting);
  await queueOf(a, resource, WAITERS, 30_000);

  const [acquired, released] = [[], []] as [number[], number[]];
  for (let round = 0; round < 200; round++) {
    const other = claim([`node/alone/${round}`]);
    const startedAt = performance.now();
    await b.acquire(other, { wait: false });
    const heldAt = performance.now();
    await b.release(other.operation);
    acquired.push(heldAt - startedAt);
    released.push(performance.now() - heldAt);
  }
  const heapBefore = usedHeap();
  const c = await rig.open();
  const heapKiB = (usedHeap() - heapBefore) / 1024;
  expect(waitingFor(c, resource)).toHaveLength(WAITERS);
  const told = blockers;
  const before = writes;
  const startedAt = performance.now();
  await a.release(holder.operation);
  const next = await Promise.any(waiting);
  const handOnMs = performance.now() - startedAt;
  const handOnWrites = writes - before;

  process.stdout.write(
    `${JSON.stringify({ waiters: WAITERS, acquireMs: quantiles(acquired), releaseMs: quantiles(released), handOnMs: Math.round(handOnMs), handOnWrites, heapKiB: Math.round(heapKiB) })}\n`,
  );
  expect(next[resource]).toBeGreaterThan(0);
  expect(told).toBe(WAITERS);
  expect(handOnWrites).toBe(2);
  expect(quantiles(acquired).p99).toBeLessThan(100);
  expect(heapKiB).toBeLessThan(8 * 1024);
  await Promise.all([a.stop(), b.stop()]);
  await ends;
});

test("a table that is stopped refuses who waits in it, and frees nothing", async () => {
  const rig = new LockRig(shared());
  const [a, b] = [await rig.open(), await rig.open()];
  const resource = "node/stop/service/x";
  const [holder, waiter] = [claim([resource]), claim([resource])];
  await a.acquire(holder, { wait: false });
  const waiting = a.acquire(waiter, { wait: true });
  await queueOf(b, resource, 1);

  const refused = expect(waiting).rejects.toMatchObject({ code: "BUS_UNAVAILABLE" });
  await a.stop();

  await refused;
  await expect(a.acquire(claim(["node/stop/other"]), { wait: false })).rejects.toMatchObject({
    code: "BUS_UNAVAILABLE",
  });
  expect(b.list().find((lock) => lock.resource === resource)).toMatchObject({ operation: holder.operation });
  expect(waitingFor(b, resource)).toEqual([waiter.operation]);
});

async function killServer(cluster: Awaited<ReturnType<typeof startBusCluster>>): Promise<void> {
  const { pid } = cluster.server(0);
  cluster.server(0).kill();
  await cluster.server(0).recovered(pid);
}

function quantiles(values: readonly number[]): { readonly p50: number; readonly p99: number } {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (part: number) => Number((sorted[Math.ceil(part * sorted.length) - 1] ?? 0).toFixed(2));
  return { p50: at(0.5), p99: at(0.99) };
}

/** Bytes of the heap that are in use after a full collection. */
function usedHeap(): number {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  return process.memoryUsage().heapUsed;
}
