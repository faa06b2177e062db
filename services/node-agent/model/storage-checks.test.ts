// SPDX-License-Identifier: Apache-2.0
/** Limits of room, memory and load; mounts and files that must be there. */
import { expect, test } from "vitest";
import { nodeAgentConfig } from "../config.ts";
import type { FileSystem } from "./mounts.ts";
import {
  inodeCheck,
  mountCheck,
  nothingRequired,
  type Resources,
  readOnlyCheck,
  requiredFileCheck,
  resourceChecks,
  silentCheck,
  stateFolderCheck,
} from "./storage-checks.ts";

const limits = nodeAgentConfig.parse({});
const fileSystem = (free: number, options = "rw"): FileSystem => ({
  device: "/dev/sda1",
  mount: "/data",
  type: "ext4",
  options: new Set([options]),
  sizeBytes: 100,
  usedBytes: 100 - free,
  freeBytes: free,
  inodes: 100,
  inodesFree: free,
});
const host = (change: Partial<Resources>): Resources => ({
  fileSystems: [],
  memory: { totalBytes: 100, availableBytes: 50, swapTotalBytes: 0, swapFreeBytes: 0 },
  load: [0, 0, 0],
  threads: 2,
  ...change,
});
const statusOf = (id: string, change: Partial<Resources>) =>
  resourceChecks(host(change), limits).find((check) => check.id === `resources.${id}`)?.status;

test.each([
  [50, "passed"],
  [14, "warned"],
  [4, "failed"],
])("judges %i %% free room and inodes", (free, status) => {
  expect(statusOf("disk:/data", { fileSystems: [fileSystem(free)] })).toBe(status);
});

test("leaves read-only file systems out of the room checks", () => {
  expect(statusOf("disk:/data", { fileSystems: [fileSystem(0, "ro")] })).toBeUndefined();
});

test.each([
  [50, "passed"],
  [9, "warned"],
  [2, "failed"],
])("judges %i %% available memory and free inodes", (free, status) => {
  expect(statusOf("memory", { memory: { ...host({}).memory, availableBytes: free } })).toBe(status);
  expect(inodeCheck(fileSystem(free), limits)).toMatchObject({ id: "file-system.inodes:/data", status });
});

test("has nothing to say without a memory size, and passes file systems without a number of inodes", () => {
  expect(statusOf("memory", { memory: { ...host({}).memory, totalBytes: 0 } })).toBe("skipped");
  expect(inodeCheck({ ...fileSystem(0), inodes: 0 }, limits)).toMatchObject({ status: "passed" });
});

test.each([
  [1, "passed"],
  [17, "warned"],
  [33, "failed"],
])("judges a load of %i on two threads", (load, status) => {
  expect(statusOf("load", { load: [0, 0, load] })).toBe(status);
});

test("judges required mounts", () => {
  const mounted = fileSystem(50);

  expect(mountCheck("/data", undefined, undefined)).toMatchObject({ id: "file-system.mount:/data", status: "failed" });
  expect(mountCheck("/data", fileSystem(50, "ro"), true)).toMatchObject({ status: "failed" });
  expect(mountCheck("/data", mounted, undefined)).toMatchObject({ status: "failed" });
  expect(mountCheck("/data", mounted, false)).toMatchObject({ status: "failed" });
  expect(mountCheck("/data", mounted, true)).toMatchObject({ status: "passed" });
});

test("judges what a node cannot do without as critical", () => {
  expect(readOnlyCheck([])).toMatchObject({ status: "passed" });
  expect(readOnlyCheck([fileSystem(1)])).toMatchObject({ status: "failed", critical: true });
  expect(stateFolderCheck("/var/lib/x", undefined)).toMatchObject({ status: "passed" });
  expect(stateFolderCheck("/var/lib/x", "EROFS")).toMatchObject({ status: "failed", critical: true });
  expect(silentCheck(fileSystem(1))).toMatchObject({ status: "failed", critical: true });
});

test("judges required files, and says when nothing is required", () => {
  expect(requiredFileCheck("/a", true)).toMatchObject({ id: "file-system.file:/a", status: "passed" });
  expect(requiredFileCheck("/a", false)).toMatchObject({ status: "failed" });
  expect([nothingRequired("mounts"), nothingRequired("files")]).toMatchObject([
    { status: "skipped" },
    { status: "skipped" },
  ]);
});
