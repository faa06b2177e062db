// SPDX-License-Identifier: Apache-2.0
/** Turns two readings of the kernel's counters into rates. */
import type { CpuTimes, DiskCounters, NetworkCounters } from "./proc-tables.ts";

/** Counters read at one moment. `atMs` is monotonic. */
export interface CounterSample {
  readonly atMs: number;
  readonly cpu: CpuTimes;
  readonly disks: ReadonlyMap<string, DiskCounters>;
  readonly networks: ReadonlyMap<string, NetworkCounters>;
}

/** Rates between two samples. */
export interface Rates {
  readonly cpuPercent: number;
  readonly disks: {
    name: string;
    readBytesPerSecond: number;
    writtenBytesPerSecond: number;
    busyPercent: number;
  }[];
  readonly networks: {
    name: string;
    receivedBytesPerSecond: number;
    sentBytesPerSecond: number;
    errors: number;
  }[];
}

/** Share of processor time that was used between two readings, 0 to 100; 0 when no time passed. */
export function cpuPercent(before: CpuTimes, after: CpuTimes): number {
  const total = after.total - before.total;
  if (total <= 0) return 0;
  return percent((after.busy - before.busy) / total);
}

/**
 * Rates of everything that is present in the later sample. A device that appeared meanwhile counts from now on, and a
 * counter that went backwards (the interface was made anew) as no traffic, so that no rate is ever negative or absurd.
 */
export function ratesBetween(before: CounterSample, after: CounterSample): Rates {
  const seconds = (after.atMs - before.atMs) / 1000;
  const perSecond = (from: number, to: number) => (seconds > 0 ? Math.round(increase(from, to) / seconds) : 0);
  return {
    cpuPercent: cpuPercent(before.cpu, after.cpu),
    disks: [...after.disks].map(([name, now]) => {
      const then = before.disks.get(name) ?? now;
      return {
        name,
        readBytesPerSecond: perSecond(then.readBytes, now.readBytes),
        writtenBytesPerSecond: perSecond(then.writtenBytes, now.writtenBytes),
        busyPercent: seconds > 0 ? percent(increase(then.busyMs, now.busyMs) / (seconds * 1000)) : 0,
      };
    }),
    networks: [...after.networks].map(([name, now]) => {
      const then = before.networks.get(name) ?? now;
      return {
        name,
        receivedBytesPerSecond: perSecond(then.receivedBytes, now.receivedBytes),
        sentBytesPerSecond: perSecond(then.sentBytes, now.sentBytes),
        errors: increase(then.errors, now.errors),
      };
    }),
  };
}

/** A share as a percentage with one decimal, within 0 to 100. */
export function percent(share: number): number {
  return Math.round(Math.min(Math.max(share, 0), 1) * 1000) / 10;
}

function increase(from: number, to: number): number {
  return Math.max(to - from, 0);
}
