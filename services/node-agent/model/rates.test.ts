// SPDX-License-Identifier: Apache-2.0
/** Rates from two samples, counters that jump included. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type CounterSample, cpuPercent, percent, ratesBetween } from "./rates.ts";

const sample = (atMs: number, bytes: number, name = "x"): CounterSample => ({
  atMs,
  cpu: { total: bytes, busy: bytes / 2 },
  disks: new Map([[name, { readBytes: bytes, writtenBytes: bytes * 2, busyMs: bytes / 4 }]]),
  networks: new Map([[name, { receivedBytes: bytes, sentBytes: bytes * 2, errors: bytes }]]),
});

test("divides by the time between the samples", () => {
  expect(ratesBetween(sample(1_000, 1_000), sample(3_000, 3_000))).toEqual({
    cpuPercent: 50,
    disks: [{ name: "x", readBytesPerSecond: 1_000, writtenBytesPerSecond: 2_000, busyPercent: 25 }],
    networks: [{ name: "x", receivedBytesPerSecond: 1_000, sentBytesPerSecond: 2_000, errors: 2_000 }],
  });
});

test("gives no rate for a device that appeared, a counter that was reset, or two samples at one time", () => {
  const zero = {
    disks: [{ name: "x", readBytesPerSecond: 0, writtenBytesPerSecond: 0, busyPercent: 0 }],
    networks: [{ name: "x", receivedBytesPerSecond: 0, sentBytesPerSecond: 0, errors: 0 }],
  };

  expect(ratesBetween(sample(0, 10, "y"), sample(1_000, 99))).toMatchObject(zero);
  expect(ratesBetween(sample(0, 1_000), sample(1_000, 0))).toMatchObject({ ...zero, cpuPercent: 0 });
  expect(ratesBetween(sample(5, 0), sample(5, 0))).toMatchObject(zero);
});

test("keeps every percentage within its range", () => {
  expect([percent(-1), percent(0.1234), percent(7)]).toEqual([0, 12.3, 100]);
  const ticks = fc.record({ total: fc.nat(), busy: fc.nat() });
  fc.assert(
    fc.property(ticks, ticks, fc.nat(), fc.nat(), (before, after, from, to) => {
      const rates = ratesBetween({ ...sample(from, from), cpu: before }, { ...sample(to, to), cpu: after });
      for (const value of [cpuPercent(before, after), rates.cpuPercent, rates.disks[0]?.busyPercent]) {
        expect(value).toBeGreaterThanOrEqual(0);
        expect(value).toBeLessThanOrEqual(100);
      }
      expect(rates.networks[0]?.receivedBytesPerSecond).toBeGreaterThanOrEqual(0);
    }),
  );
});
