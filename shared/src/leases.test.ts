// SPDX-License-Identifier: Apache-2.0
/**
 * Leases under bad luck: slow and lost answers, writes that fail, holders that stop. Time and the store are simulated, so
 * that thousands of schedules run in a second; the real bucket is in test/integration/discovery/registry.test.ts.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Bucket, BucketEntry } from "./bus/bus.ts";
import type { Clock } from "./clock.ts";
import { DvError } from "./errors.ts";
import { holdLease, type Lease, type LeaseBus, type LeaseRecord } from "./leases.ts";
import { silentLogger } from "./log.ts";

/** Time that moves from timer to timer, letting promises settle in between. */
class SimulatedTime {
  #now = 0;
  readonly #timers = new Set<{ at: number; fire: () => void }>();

  readonly clock: Clock = {
    now: () => this.#now,
    monotonic: () => this.#now,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        if (signal?.aborted) return resolve();
        const timer = { at: this.#now + Math.max(0, ms), fire: () => done() };
        const done = () => {
          this.#timers.delete(timer);
          resolve();
        };
        signal?.addEventListener("abort", done, { once: true });
        this.#timers.add(timer);
      }),
  };

  async run(untilMs: number, check: () => void = () => undefined): Promise<void> {
    for (;;) {
      await new Promise(setImmediate);
      check();
      const next = [...this.#timers].sort((a, b) => a.at - b.at)[0];
      if (!next || next.at > untilMs) break;
      this.#now = Math.max(this.#now, next.at);
      next.fire();
    }
    this.#now = untilMs;
  }
}

/** How the next request to the store goes. */
interface Luck {
  readonly before: number;
  readonly after: number;
  readonly outcome: "ok" | "lost-answer" | "lost-request";
}

class SimulatedStore {
  readonly #time: SimulatedTime;
  readonly #luck: () => Luck;
  #entry: (BucketEntry<LeaseRecord> & { readonly expires: number }) | undefined;
  #revision = 0;

  constructor(time: SimulatedTime, luck: () => Luck) {
    this.#time = time;
    this.#luck = luck;
  }

  get bus(): LeaseBus {
    const bucket: Bucket<LeaseRecord> = {
      get: () => this.#request(() => this.#current()),
      list: () => this.#request(() => (this.#current() ? [this.#current() as BucketEntry<LeaseRecord>] : [])),
      create: (key, value, options) => this.#request(() => this.#put(key, value, 0, options?.ttlSeconds ?? 0)),
      update: (key, value, revision, options) =>
        this.#request(() => this.#put(key, value, revision, options?.ttlSeconds ?? 0)),
      delete: (_key, revision) =>
        this.#request(() => {
          if (this.#current()?.revision !== revision) throw new DvError("CONFLICT", "other revision");
          this.#entry = undefined;
        }),
      look: () => Promise.reject(new Error("leases look at no deletions")),
      lastRevision: () => Promise.reject(new Error("leases do not look at the whole bucket")),
      watch: () => Promise.reject(new Error("leases do not watch")),
    };
    return { bucket: () => Promise.resolve(bucket as unknown as Bucket<never>) } as LeaseBus;
  }

  #current() {
    if (this.#entry && this.#time.clock.now() >= this.#entry.expires) this.#entry = undefined;
    return this.#entry;
  }

  #put(key: string, value: LeaseRecord, revision: number, ttlSeconds: number): number {
    if ((this.#current()?.revision ?? 0) !== revision) throw new DvError("CONFLICT", "other revision");
    this.#entry = { key, value, revision: ++this.#revision, expires: this.#time.clock.now() + ttlSeconds * 1000 };
    return this.#revision;
  }

  async #request<T>(action: () => T): Promise<T> {
    const { before, after, outcome } = this.#luck();
    await this.#time.clock.sleep(before);
    if (outcome === "lost-request") throw new DvError("BUS_UNAVAILABLE", "lost");
    const result = action();
    await this.#time.clock.sleep(after);
    if (outcome === "lost-answer") throw new DvError("BUS_UNAVAILABLE", "lost");
    return result;
  }
}

const GOOD: Luck = { before: 1, after: 1, outcome: "ok" };

function contender(bus: LeaseBus, name: string, clock: Clock, log: string[]): Lease {
  return holdLease(bus, "job", name, {
    ttlSeconds: 10,
    onHeld: () => log.push(`${name} held`),
    onLost: () => log.push(`${name} lost`),
    log: silentLogger(),
    clock,
  });
}

test("one holds, the other takes over within two seconds of its giving back", async () => {
  const time = new SimulatedTime();
  const { bus } = new SimulatedStore(time, () => GOOD);
  const log: string[] = [];
  const a = contender(bus, "a", time.clock, log);
  await time.run(100);
  const b = contender(bus, "b", time.clock, log);
  await time.run(60_000);
  expect(log).toEqual(["a held"]);

  const stopped = a.stop();
  await time.run(62_000);
  await stopped;

  expect(log).toEqual(["a held", "a lost", "b held"]);
  expect([a.held, b.held]).toEqual([false, true]);
});

test("a holder that reaches nobody gives up by its own clock before the lease is free", async () => {
  const time = new SimulatedTime();
  let luck: Luck = GOOD;
  const { bus } = new SimulatedStore(time, () => luck);
  const log: string[] = [];
  const a = contender(bus, "a", time.clock, log);
  await time.run(5_000);
  expect(a.held).toBe(true);

  luck = { before: 60_000, after: 0, outcome: "lost-request" };
  await time.run(20_000);

  expect(a.held).toBe(false);
  expect(log).toEqual(["a held", "a lost"]);
});

test("a renewal whose answer was lost does not cost the lease", async () => {
  const time = new SimulatedTime();
  let calls = 0;
  const { bus } = new SimulatedStore(time, () => (++calls === 4 ? { ...GOOD, outcome: "lost-answer" } : GOOD));
  const log: string[] = [];
  contender(bus, "a", time.clock, log);
  await time.run(60_000);

  expect(log).toEqual(["a held"]);
});

test("never two holders, whatever is slow or lost", async () => {
  const luck = fc.record({
    before: fc.nat({ max: 4_000 }),
    after: fc.nat({ max: 4_000 }),
    outcome: fc.constantFrom<Luck["outcome"]>("ok", "ok", "lost-answer", "lost-request"),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(luck, { minLength: 20, maxLength: 120, size: "max" }),
      fc.nat({ max: 60_000 }),
      async (fates, stopAt) => {
        const time = new SimulatedTime();
        let next = 0;
        const { bus } = new SimulatedStore(time, () => fates[next++ % fates.length] ?? GOOD);
        const log: string[] = [];
        const leases = ["a", "b", "c"].map((name) => contender(bus, name, time.clock, log));
        const alone = () => expect(leases.filter(({ held }) => held).length).toBeLessThanOrEqual(1);

        await time.run(stopAt, alone);
        const stopped = leases[0]?.stop();
        await time.run(stopAt + 60_000, alone);
        await stopped;

        const holders = new Set<string>();
        for (const line of log) {
          const [name = "", what] = line.split(" ");
          if (what === "held") expect(holders.add(name).size, log.join(", ")).toBe(1);
          else expect(holders.delete(name)).toBe(true);
        }
      },
    ),
    { numRuns: 300 },
  );
});
