// SPDX-License-Identifier: Apache-2.0
/** Recorded tables of this project's build machine, odd shapes, and arbitrary text. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  parseBootTime,
  parseCpuTimes,
  parseDiskStats,
  parseLoadAverage,
  parseMeminfo,
  parseNetDev,
  parseUptime,
} from "./proc-tables.ts";

const sample = (name: string) =>
  readFileSync(new URL(`../drivers/samples/linux-6.18.44-proc-${name}.txt`, import.meta.url), "utf8");

test("reads the recorded tables", () => {
  const memory = parseMeminfo(sample("meminfo"));
  const cpu = parseCpuTimes(sample("stat"));

  expect(parseLoadAverage(sample("loadavg")).every((load) => load >= 0 && load < 100)).toBe(true);
  expect(memory.totalBytes).toBe(24_684_100 * 1024);
  expect(memory.availableBytes).toBeGreaterThan(0);
  expect(memory.availableBytes).toBeLessThan(memory.totalBytes);
  expect(cpu.busy).toBeGreaterThan(0);
  expect(cpu.busy).toBeLessThan(cpu.total);
  expect(new Date(parseBootTime(sample("stat"))).getUTCFullYear()).toBeGreaterThan(2020);
  expect(parseUptime(sample("uptime"))).toBeGreaterThan(0);
  expect(parseDiskStats(sample("diskstats")).get("vda")?.readBytes).toBeGreaterThan(0);
  expect(parseNetDev(sample("net-dev")).get("lo")).toMatchObject({ errors: 0 });
  expect(parseNetDev(sample("net-dev")).get("eth0")?.receivedBytes).toBeGreaterThan(0);
});

test("takes free memory where the kernel states no available memory", () => {
  const text = "MemTotal:  100 kB\nMemFree:  40 kB\nSwapTotal: 8 kB\nSwapFree: 2 kB\nHugePages_Total:   0\n";

  expect(parseMeminfo(text)).toEqual({
    totalBytes: 102_400,
    availableBytes: 40_960,
    swapTotalBytes: 8_192,
    swapFreeBytes: 2_048,
  });
});

test("counts guest time once, and waiting for disks as idle", () => {
  expect(parseCpuTimes("cpu  10 1 5 80 4 0 0 0 7 0\ncpu0 1 1 1 1\n")).toEqual({ total: 100, busy: 16 });
});

test("splits a counter that stands right behind the interface's colon, and adds both kinds of errors", () => {
  const line = "eth0:123 1 2 0 0 0 0 0 456 1 3 0 0 0 0 0";

  expect(parseNetDev(line).get("eth0")).toEqual({ receivedBytes: 123, sentBytes: 456, errors: 5 });
});

test("reads sectors as 512 bytes", () => {
  expect(parseDiskStats("8 0 sda 1 0 2 0 1 0 4 0 0 77 0").get("sda")).toEqual({
    readBytes: 1_024,
    writtenBytes: 2_048,
    busyMs: 77,
  });
});

test("leaves out lines that the kernel does not write", () => {
  expect(parseDiskStats("8 0 sda 1 0\n\n").size).toBe(0);
  expect(parseNetDev("Inter-| Receive\n eth0: 1 2\n eth1: none\n").size).toBe(0);
  expect(parseMeminfo("")).toEqual({ totalBytes: 0, availableBytes: 0, swapTotalBytes: 0, swapFreeBytes: 0 });
  expect(parseCpuTimes("")).toEqual({ total: 0, busy: 0 });
  expect(parseBootTime("")).toBe(0);
});

test("never throws and never gives a number that is not finite", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc
      .array(fc.constantFrom("cpu ", "btime ", "eth0: ", "MemTotal: ", "9".repeat(400), "-1 ", "x ", "\n", "12 "))
      .map((parts) => parts.join("")),
  );
  fc.assert(
    fc.property(text, (table) => {
      const numbers = [
        ...parseLoadAverage(table),
        ...Object.values(parseMeminfo(table)),
        ...Object.values(parseCpuTimes(table)),
        parseBootTime(table),
        parseUptime(table),
        ...[...parseDiskStats(table).values(), ...parseNetDev(table).values()].flatMap((row) => Object.values(row)),
      ];
      expect(numbers.every((value: number) => Number.isFinite(value))).toBe(true);
    }),
  );
});
