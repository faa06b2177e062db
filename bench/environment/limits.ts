// SPDX-License-Identifier: Apache-2.0
/** What this machine allows: open files, and the memory of processes. */
import { readFileSync } from "node:fs";

/** Files that a process needs besides its connections. */
const SPARE_FILES = 200;

/**
 * Says why a process cannot hold so many connections; undefined when it can. Node and nats-server raise the soft limit of
 * open files to the hard one by themselves, so the hard one counts.
 */
export function connectionsRefused(connections: number): string | undefined {
  const limit = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  if (limit === undefined || limit === "unlimited" || Number(limit) >= connections + SPARE_FILES) return undefined;
  return `${connections} connections need ${connections + SPARE_FILES} open files in nats-server, and the hard limit is ${limit}: raise it with ulimit -Hn (root) or LimitNOFILE=`;
}

/** Resident memory of a process in bytes; 0 when it is gone. */
export function residentBytes(pid: number | undefined): number {
  try {
    const kib = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return Number(kib ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** Processor time that a process has used, in milliseconds; other work on the machine does not change it. */
export function processorMs(pid: number): number {
  // utime and stime, the 12th and 13th field after the name in parentheses, in hundredths of a second.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Bytes as megabytes (10^6) with one decimal. */
export function megabytes(bytes: number): number {
  return Math.round(bytes / 1e5) / 10;
}

/** Bytes as mebibytes with one decimal. */
export function mebibytes(bytes: number): number {
  return Math.round((bytes / 1024 / 1024) * 10) / 10;
}
