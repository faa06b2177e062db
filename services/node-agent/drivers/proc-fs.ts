// SPDX-License-Identifier: Apache-2.0
/**
 * The kernel's tables under /proc (checked with Linux 6.1 and 6.18). Read synchronously on purpose: procfs answers from
 * memory in microseconds, while an asynchronous read queues behind whatever hangs in Node's four worker threads, and a
 * dead disk or DNS server must not hold up a heartbeat.
 */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { type CpuInfo, parseCpuInfo } from "../model/cpu-info.ts";
import { type Mount, parseMounts } from "../model/mounts.ts";
import {
  type CpuTimes,
  type DiskCounters,
  type LoadAverage,
  type Memory,
  type NetworkCounters,
  parseBootTime,
  parseCpuTimes,
  parseDiskStats,
  parseLoadAverage,
  parseMeminfo,
  parseNetDev,
  parseUptime,
} from "../model/proc-tables.ts";

/** Readings of /proc. A table that is missing reads as empty. */
export interface ProcFs {
  loadAverage(): LoadAverage;
  memory(): Memory;
  cpuTimes(): CpuTimes;
  /** Milliseconds since 1970. */
  bootTimeMs(): number;
  uptimeSeconds(): number;
  /** Id that the kernel draws at each boot. */
  bootId(): string;
  cpuInfo(): CpuInfo;
  mounts(): Mount[];
  disks(): ReadonlyMap<string, DiskCounters>;
  networks(): ReadonlyMap<string, NetworkCounters>;
  /** Name of the program that runs as process 1. */
  initName(): string;
}

/** Reads the tables below a folder, normally `/proc`. */
export function createProcFs(root = "/proc"): ProcFs {
  const read = (path: string): string => {
    try {
      return readFileSync(join(root, path), "utf8");
    } catch {
      // Containers hide some tables; a node without disk counters is still a node.
      return "";
    }
  };
  return {
    loadAverage: () => parseLoadAverage(read("loadavg")),
    memory: () => parseMeminfo(read("meminfo")),
    cpuTimes: () => parseCpuTimes(read("stat")),
    bootTimeMs: () => parseBootTime(read("stat")),
    uptimeSeconds: () => parseUptime(read("uptime")),
    bootId: () => read("sys/kernel/random/boot_id").trim(),
    cpuInfo: () => parseCpuInfo(read("cpuinfo"), availableParallelism()),
    mounts: () => parseMounts(read("self/mounts")),
    disks: () => parseDiskStats(read("diskstats")),
    networks: () => parseNetDev(read("net/dev")),
    initName: () => read("1/comm").trim(),
  };
}
