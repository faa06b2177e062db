// SPDX-License-Identifier: Apache-2.0
/** Whether the host has room, memory and processor time left, and whether what must be mounted and present is. */
import type { HealthCheck } from "@debvisor/proto-events/node-agent";
import type { NodeAgentConfig } from "../config.ts";
import { findingsOf, levelOf } from "./findings.ts";
import { type FileSystem, type Mount, usedPercent } from "./mounts.ts";
import type { LoadAverage, Memory } from "./proc-tables.ts";

/** Limits that the checks compare with. */
export type Limits = Pick<
  NodeAgentConfig,
  | "diskFreePercentWarn"
  | "diskFreePercentFail"
  | "inodesFreePercentWarn"
  | "inodesFreePercentFail"
  | "memoryFreePercentWarn"
  | "memoryFreePercentFail"
  | "loadPerThreadWarn"
  | "loadPerThreadFail"
>;

/** What the resources group looks at; also read for every heartbeat. */
export interface Resources {
  readonly fileSystems: readonly FileSystem[];
  readonly memory: Memory;
  readonly load: LoadAverage;
  readonly threads: number;
}

const resources = findingsOf("resources");
const fileSystem = findingsOf("file-system");

/** Disk room per file system, memory, load. */
export function resourceChecks(host: Resources, limits: Limits): HealthCheck[] {
  return [
    ...host.fileSystems.filter(({ options }) => !options.has("ro")).map((room) => roomCheck(room, limits)),
    memoryCheck(host.memory, limits),
    loadCheck(host.load, host.threads, limits),
  ];
}

function roomCheck(room: FileSystem, limits: Limits): HealthCheck {
  const name = `disk:${room.mount}`;
  const free = 100 - usedPercent(room);
  const message = `${room.mount} has ${free.toFixed(1)} % free (${gibibytes(room.freeBytes)}).`;
  const level = levelOf(free, { warn: limits.diskFreePercentWarn, fail: limits.diskFreePercentFail });
  if (level === "passed") return resources.passed(name, message);
  return resources[level](
    name,
    message,
    `Find what fills it: du -xh --max-depth=2 ${room.mount} | sort -h | tail. Then delete, move or extend.`,
  );
}

function memoryCheck(memory: Memory, limits: Limits): HealthCheck {
  if (memory.totalBytes === 0) return resources.skipped("memory", "The kernel states no memory size.");
  const available = (memory.availableBytes / memory.totalBytes) * 100;
  const message = `${available.toFixed(1)} % of the memory is available (${gibibytes(memory.availableBytes)}).`;
  const level = levelOf(available, { warn: limits.memoryFreePercentWarn, fail: limits.memoryFreePercentFail });
  if (level === "passed") return resources.passed("memory", message);
  return resources[level](
    "memory",
    message,
    "Find the largest processes: ps -eo rss,args --sort=-rss | head. Then move guests away or add memory.",
  );
}

function loadCheck(load: LoadAverage, threads: number, limits: Limits): HealthCheck {
  const perThread = load[2] / Math.max(threads, 1);
  const message = `The load over 15 minutes is ${load[2].toFixed(2)} on ${threads} threads.`;
  const level = levelOf(-perThread, { warn: -limits.loadPerThreadWarn, fail: -limits.loadPerThreadFail });
  if (level === "passed") return resources.passed("load", message);
  return resources[level](
    "load",
    message,
    "Find what runs or waits for disks: top, or ps -eo stat,args | grep '^[RD]'.",
  );
}

/** Free inodes of one file system; file systems without a fixed number state 0 and pass. */
export function inodeCheck(room: FileSystem, limits: Limits): HealthCheck {
  const name = `inodes:${room.mount}`;
  if (room.inodes === 0) return fileSystem.passed(name, `${room.mount} has no fixed number of inodes.`);
  const free = (room.inodesFree / room.inodes) * 100;
  const message = `${room.mount} has ${free.toFixed(1)} % of its inodes free.`;
  const level = levelOf(free, { warn: limits.inodesFreePercentWarn, fail: limits.inodesFreePercentFail });
  if (level === "passed") return fileSystem.passed(name, message);
  return fileSystem[level](
    name,
    message,
    `Find folders with many small files: du --inodes -xd2 ${room.mount} | sort -n | tail.`,
  );
}

/** A local file system that does not say how full it is: its disk hangs. */
export function silentCheck(mount: Mount): HealthCheck {
  const hint = `Look for errors of ${mount.device} in dmesg; check the disk: smartctl -a ${mount.device}`;
  return fileSystem.failed(`answers:${mount.mount}`, `${mount.mount} (${mount.device}) does not answer.`, hint, true);
}

/** A mount point that the configuration requires. `writable` is undefined when it could not be tried in time. */
export function mountCheck(path: string, mount: Mount | undefined, writable: boolean | undefined): HealthCheck {
  const name = `mount:${path}`;
  if (mount === undefined)
    return fileSystem.failed(
      name,
      `${path} is not mounted.`,
      `mount ${path}; then look at dmesg and /etc/fstab if it fails.`,
    );
  if (mount.options.has("ro")) return fileSystem.failed(name, `${path} is mounted read-only.`, readOnlyHint(path));
  if (writable === undefined)
    return fileSystem.failed(name, `${path} does not answer.`, "Check the storage behind it and the network to it.");
  if (writable) return fileSystem.passed(name, `${path} is mounted (${mount.type}) and writable.`);
  return fileSystem.failed(
    name,
    `${path} is mounted, but this service cannot write to it.`,
    `Check owner and mode: stat ${path}`,
  );
}

/** Mounts that turned read-only against fstab. */
export function readOnlyCheck(mounts: readonly Mount[]): HealthCheck {
  if (mounts.length === 0) return fileSystem.passed("read-only", "No file system of fstab turned read-only.");
  const names = mounts.map(({ mount }) => mount).join(", ");
  return fileSystem.failed("read-only", `Read-only against fstab: ${names}.`, readOnlyHint(names), true);
}

/** The folder in which this service keeps its files. `reason` is undefined when a file could be written there. */
export function stateFolderCheck(path: string, reason: string | undefined): HealthCheck {
  if (reason === undefined) return fileSystem.passed("state-folder", `${path} is writable.`);
  return fileSystem.failed(
    "state-folder",
    `${path} cannot be written: ${reason}.`,
    `Check that the file system is not full or read-only, and the owner: stat ${path}`,
    true,
  );
}

/** A file that the configuration requires. */
export function requiredFileCheck(path: string, exists: boolean): HealthCheck {
  if (exists) return fileSystem.passed(`file:${path}`, `${path} exists.`);
  return fileSystem.failed(
    `file:${path}`,
    `${path} is missing.`,
    "Restore it from the backup, or run the step that makes it.",
  );
}

/** Stands for a list that is empty in the configuration. */
export function nothingRequired(name: "mounts" | "files"): HealthCheck {
  return fileSystem.skipped(name, `Nothing to check: required${name === "mounts" ? "Mounts" : "Files"} is empty.`);
}

function readOnlyHint(path: string): string {
  return `Look for errors of the disk in dmesg; after a file system check: mount -o remount,rw ${path}`;
}

function gibibytes(bytes: number): string {
  return `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
}
