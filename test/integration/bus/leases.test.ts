// SPDX-License-Identifier: Apache-2.0
/** Leases on a real bucket: never two holders at once, and always one again, over kill -9 of the server. */
import { holdLease, type Lease } from "@debvisor/shared/leases";
import { expect, test } from "vitest";
import { type BusCluster, startBusCluster } from "../../support/bus-cluster.ts";

const SOAK = process.env["DV_SOAK"] === "1";
const TTL_SECONDS = 2;
const HOLDERS = 3;

/** Several that want one lease, and a record of who held it when. */
class Rivals implements AsyncDisposable {
  /** Names in the order in which they gained the lease. */
  readonly gained: string[] = [];
  /** Moments at which more than one held it. */
  readonly overlaps: string[] = [];
  readonly leases = new Map<string, Lease>();
  readonly #holding = new Set<string>();
  readonly #sampling = setInterval(() => this.#sample(), 5);

  async add(cluster: BusCluster, name: string): Promise<void> {
    const bus = await cluster.connectCore("discovery");
    const onHeld = () => {
      this.gained.push(name);
      this.#holding.add(name);
      this.#sample();
    };
    const onLost = () => void this.#holding.delete(name);
    this.leases.set(name, holdLease(bus, "job", name, { ttlSeconds: TTL_SECONDS, onHeld, onLost, log: cluster.log }));
  }

  get holder(): string | undefined {
    return [...this.leases].find(([, { held }]) => held)?.[0];
  }

  #sample(): void {
    const held = [...this.leases].filter(([, lease]) => lease.held).map(([name]) => name);
    for (const names of [held, [...this.#holding]]) if (names.length > 1) this.overlaps.push(names.join());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#sampling);
    await Promise.all([...this.leases.values()].map((lease) => lease.stop()));
  }
}

async function startRivals(cluster: BusCluster): Promise<Rivals> {
  const rivals = new Rivals();
  for (let i = 0; i < HOLDERS; i++) await rivals.add(cluster, `holder-${i}`);
  await expect.poll(() => rivals.holder, { timeout: 10_000 }).toBeDefined();
  return rivals;
}

test("a lease that is given back passes to another at once, and never to two", async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  await using rivals = await startRivals(cluster);

  for (let turn = 1; turn < HOLDERS; turn++) {
    const holder = rivals.holder ?? "";
    await rivals.leases.get(holder)?.stop();
    await expect.poll(() => rivals.holder).toBeDefined();
    expect(rivals.holder).not.toBe(holder);
  }

  expect(new Set(rivals.gained).size).toBe(HOLDERS);
  expect(rivals.overlaps).toEqual([]);
});

test("no two hold a lease at once while the server is killed again and again, and one holds it afterwards", {
  timeout: SOAK ? 50 * 60_000 : 60_000,
}, async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  await using rivals = await startRivals(cluster);

  for (let kill = 0; kill < (SOAK ? 50 : 3); kill++) {
    const { pid } = cluster.server(0);
    cluster.server(0).kill();
    await cluster.server(0).recovered(pid);
    await expect.poll(() => rivals.holder, { timeout: 15_000 }).toBeDefined();
  }

  expect(rivals.overlaps).toEqual([]);
});

test("a holder cut off from the bus for longer than the time to live has given up before anyone else can hold", async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  await using rivals = await startRivals(cluster);
  const stoppedAt = performance.now();

  await cluster.server(0).stop();
  await expect.poll(() => rivals.holder, { timeout: 5_000, interval: 5 }).toBeUndefined();
  const gaveUpMs = performance.now() - stoppedAt;
  await cluster.server(0).start();
  await expect.poll(() => rivals.holder, { timeout: 15_000 }).toBeDefined();

  expect(gaveUpMs).toBeLessThan(TTL_SECONDS * 1000 + 500);
  expect(rivals.gained.length).toBeGreaterThan(1);
  expect(rivals.overlaps).toEqual([]);
});
