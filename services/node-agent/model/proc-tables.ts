// SPDX-License-Identifier: Apache-2.0
/**
 * Parsers of the tables under /proc (proc(5)): load, memory, processor times, disk and network counters. They never throw;
 * a line in a shape that the kernel does not write is left out, a missing number counts as 0.
 */

/** Load averages over 1, 5 and 15 minutes. */
export type LoadAverage = readonly [number, number, number];

/** Sizes in bytes. `availableBytes` is what programs can get without swapping. */
export interface Memory {
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly swapTotalBytes: number;
  readonly swapFreeBytes: number;
}

/** Time since boot, summed over all processors, in ticks. `busy` excludes idling and waiting for disks. */
export interface CpuTimes {
  readonly total: number;
  readonly busy: number;
}

/** Counters of a block device since boot. */
export interface DiskCounters {
  readonly readBytes: number;
  readonly writtenBytes: number;
  /** Milliseconds during which at least one request was in flight. */
  readonly busyMs: number;
}

/** Counters of a network interface since it was made. */
export interface NetworkCounters {
  readonly receivedBytes: number;
  readonly sentBytes: number;
  /** Receive and transmit errors together. */
  readonly errors: number;
}

/** The kernel counts disk traffic in units of 512 bytes, whatever the device's sector size. */
const SECTOR_BYTES = 512;

/** Parses `/proc/loadavg`. */
export function parseLoadAverage(text: string): LoadAverage {
  const [one, five, fifteen] = text.trim().split(/\s+/);
  return [numberOf(one), numberOf(five), numberOf(fifteen)];
}

/** Parses `/proc/meminfo`. Kernels before 3.14 state no MemAvailable; then free memory stands in. */
export function parseMeminfo(text: string): Memory {
  const bytes = new Map<string, number>();
  for (const line of text.split("\n")) {
    const match = /^(\w+):\s+(\d{1,15})(?: kB)?\s*$/.exec(line);
    if (match?.[1] !== undefined) bytes.set(match[1], numberOf(match[2]) * 1024);
  }
  return {
    totalBytes: bytes.get("MemTotal") ?? 0,
    availableBytes: bytes.get("MemAvailable") ?? bytes.get("MemFree") ?? 0,
    swapTotalBytes: bytes.get("SwapTotal") ?? 0,
    swapFreeBytes: bytes.get("SwapFree") ?? 0,
  };
}

/** Parses the `cpu` line of `/proc/stat`. Guest time is part of user time and not added again. */
export function parseCpuTimes(text: string): CpuTimes {
  const line = /^cpu (.*)$/m.exec(text)?.[1] ?? "";
  const times = line.trim().split(/\s+/).slice(0, 8).map(numberOf);
  const total = times.reduce((sum, ticks) => sum + ticks, 0);
  const [, , , idle = 0, waiting = 0] = times;
  return { total, busy: total - idle - waiting };
}

/** Parses the `btime` line of `/proc/stat`: the time of boot in milliseconds since 1970; 0 when there is none. */
export function parseBootTime(text: string): number {
  return numberOf(/^btime (\d{1,12})$/m.exec(text)?.[1]) * 1000;
}

/** Parses `/proc/uptime`: seconds since boot. */
export function parseUptime(text: string): number {
  return numberOf(text.trim().split(/\s+/)[0]);
}

/** Parses `/proc/diskstats`, by device name; partitions are included. */
export function parseDiskStats(text: string): ReadonlyMap<string, DiskCounters> {
  const disks = new Map<string, DiskCounters>();
  for (const line of text.split("\n")) {
    const fields = line.trim().split(/\s+/);
    const name = fields[2];
    if (name === undefined || fields.length < 14) continue;
    disks.set(name, {
      readBytes: numberOf(fields[5]) * SECTOR_BYTES,
      writtenBytes: numberOf(fields[9]) * SECTOR_BYTES,
      busyMs: numberOf(fields[12]),
    });
  }
  return disks;
}

/** Parses `/proc/net/dev`, by interface name. */
export function parseNetDev(text: string): ReadonlyMap<string, NetworkCounters> {
  const interfaces = new Map<string, NetworkCounters>();
  for (const line of text.split("\n")) {
    const match = /^\s*(\S+):\s*(\d.*)$/.exec(line);
    const fields = match?.[2]?.trim().split(/\s+/) ?? [];
    if (match?.[1] === undefined || fields.length < 16) continue;
    interfaces.set(match[1], {
      receivedBytes: numberOf(fields[0]),
      sentBytes: numberOf(fields[8]),
      errors: numberOf(fields[2]) + numberOf(fields[10]),
    });
  }
  return interfaces;
}

function numberOf(text: string | undefined): number {
  const value = Number(text);
  return Number.isFinite(value) && value >= 0 ? value : 0;
}
