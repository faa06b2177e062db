// SPDX-License-Identifier: Apache-2.0
/** The gate of the join port: buckets, places, who goes first, and that it stays small whoever comes. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Clock, systemClock } from "../clock.ts";
import { ConnectionGate, type Place, sourceOf } from "./gate.ts";
import { NonceCache } from "./nonces.ts";

const limits = { perSecond: 5, burst: 20, unproved: 64 };

class TestClock implements Clock {
  ms = 0;
  readonly sleep = systemClock.sleep;
  now = () => this.ms;
  monotonic = () => this.ms;
}

/** How many of `attempts` from one address get in. */
function admitted(gate: ConnectionGate, address: string, attempts: number): number {
  let count = 0;
  for (let i = 0; i < attempts; i++) {
    const place = gate.enter(address, () => undefined);
    if (place) {
      count++;
      gate.leave(place);
    }
  }
  return count;
}

test("a source may come 20 times at once and then five times a second", () => {
  const clock = new TestClock();
  const gate = new ConnectionGate(clock, limits);

  expect(admitted(gate, "10.0.0.1", 100)).toBe(20);
  clock.ms += 1_000;
  expect(admitted(gate, "10.0.0.1", 100)).toBe(5);
  clock.ms += 3_600_000;
  expect(admitted(gate, "10.0.0.1", 100)).toBe(20);
});

test("a source that keeps trying while its bucket is empty is let in at the same rate", () => {
  const clock = new TestClock();
  const gate = new ConnectionGate(clock, limits);
  admitted(gate, "10.0.0.1", 20);

  let count = 0;
  for (clock.ms = 1; clock.ms <= 10_000; clock.ms++) count += admitted(gate, "10.0.0.1", 1);

  expect(count).toBeGreaterThanOrEqual(49);
  expect(count).toBeLessThanOrEqual(50);
});

test("sources do not use up each other's buckets", () => {
  const gate = new ConnectionGate(new TestClock(), limits);
  admitted(gate, "10.0.0.1", 1_000);

  expect(admitted(gate, "10.0.0.2", 1)).toBe(1);
});

test("when all places are taken, the oldest connection of the source with the most of them goes", () => {
  const gate = new ConnectionGate(new TestClock(), { ...limits, burst: 1_000 });
  const dropped: string[] = [];
  const enter = (address: string, name: string) => gate.enter(address, () => dropped.push(name));
  enter("10.0.0.9", "honest");
  for (let i = 0; i < 63; i++) enter("10.0.0.1", `rogue ${i}`);

  enter("10.0.0.1", "rogue 63");
  enter("10.0.0.2", "another");

  expect(dropped).toEqual(["rogue 0", "rogue 1"]);
  expect(gate.open).toBe(64);
});

test("a source that holds no more than others loses nothing to one that comes anew twice", () => {
  const gate = new ConnectionGate(new TestClock(), limits);
  const dropped: number[] = [];
  for (let i = 0; i < 64; i++) gate.enter(`10.0.0.${i}`, () => dropped.push(i));

  gate.enter("10.0.0.40", () => dropped.push(1_000));

  expect(dropped).toEqual([40]);
});

test("whoever comes and goes, no more than 64 places are open, one newcomer drops one at most, and counts stay right", () => {
  const step = fc.oneof(
    fc.record({ enter: fc.integer({ min: 0, max: 90 }) }),
    fc.record({ leave: fc.nat({ max: 200 }), waitMs: fc.nat({ max: 500 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { minLength: 50, maxLength: 400 }), (steps) => {
      const clock = new TestClock();
      const gate = new ConnectionGate(clock, { ...limits, unproved: 16 });
      const open = new Set<Place>();
      for (const one of steps) {
        if ("enter" in one) {
          const before = open.size;
          let mine: Place | undefined;
          const place = gate.enter(`10.0.0.${one.enter % 9}`, () => mine && open.delete(mine));
          mine = place;
          if (place) open.add(place);
          expect(open.size - before).toBeLessThanOrEqual(1);
        } else {
          clock.ms += one.waitMs;
          const place = [...open][one.leave % (open.size || 1)];
          if (place) {
            gate.leave(place);
            gate.leave(place);
            open.delete(place);
          }
        }
        expect(gate.open).toBe(open.size);
        expect(gate.open).toBeLessThanOrEqual(16);
      }
    }),
  );
});

test("memory stays bounded when every connection comes from another source and brings another nonce", () => {
  const gate = new ConnectionGate(new TestClock(), limits);
  const nonces = new NonceCache(new TestClock());

  for (let i = 0; i < 20_000; i++) {
    gate.enter(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, () => undefined);
    nonces.admit(Buffer.from(String(i).padStart(32, "0")));
  }

  expect(gate.sources).toBe(4_096);
  expect(gate.open).toBe(64);
  expect(nonces.size).toBeLessThanOrEqual(8_192);
});

test("a nonce is refused for ten minutes", () => {
  const clock = new TestClock();
  const nonces = new NonceCache(clock);
  const nonce = Buffer.alloc(32, 7);

  expect(nonces.admit(nonce)).toBe(true);
  clock.ms = 599_999;
  expect(nonces.admit(nonce)).toBe(false);
  clock.ms = 600_000;
  expect(nonces.admit(nonce)).toBe(true);
});

test.each([
  ["10.1.2.3", "10.1.2.3"],
  ["::ffff:10.1.2.3", "10.1.2.3"],
  ["fd00:1:2:3:4:5:6:7", "fd00:1:2:3::/64"],
  ["fd00:1:2:3::9", "fd00:1:2:3::/64"],
  ["fd00:0001:2::", "fd00:1:2:0::/64"],
  ["::1", "0:0:0:0::/64"],
  ["fe80::1%eth0", "fe80:0:0:0::/64%eth0"],
  ["64:ff9b::10.1.2.3", "64:ff9b:0:0::/64"],
  ["", ""],
])("the source of %s is %s", (address, source) => {
  expect(sourceOf(address)).toBe(source);
});
