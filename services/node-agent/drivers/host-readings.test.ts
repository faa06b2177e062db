// SPDX-License-Identifier: Apache-2.0
/** The drivers of /proc, /sys, file systems and identity against the machine that runs the tests. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, onTestFinished, test } from "vitest";
import { isWritable, parseStat, roomOf } from "./file-systems.ts";
import { readMachineId, readOsRelease } from "./os-identity.ts";
import { createProcFs } from "./proc-fs.ts";
import { createSysFs } from "./sys-fs.ts";

test("reads the running kernel", () => {
  const proc = createProcFs();

  expect(proc.memory().totalBytes).toBeGreaterThan(0);
  expect(proc.cpuTimes().total).toBeGreaterThan(0);
  expect(proc.cpuInfo().threads).toBeGreaterThan(0);
  expect(proc.bootTimeMs()).toBeLessThan(Date.now());
  expect(proc.bootId()).toMatch(/^[0-9a-f-]{36}$/);
  expect(proc.uptimeSeconds()).toBeGreaterThan(0);
  expect(proc.mounts().some(({ mount }) => mount === "/")).toBe(true);
  expect(proc.networks().has("lo")).toBe(true);
  expect(proc.initName()).not.toBe("");
});

test("reads empty tables where there are none", async () => {
  const empty = mkdtempSync(join(tmpdir(), "dv-empty-"));
  onTestFinished(() => rmSync(empty, { recursive: true }));

  expect(createProcFs(empty).memory().totalBytes).toBe(0);
  expect([...createProcFs(empty).disks()]).toEqual([]);
  expect(await createSysFs(empty).disks()).toEqual([]);
  expect([...(await createSysFs(empty).links())]).toEqual([]);
  expect(await createSysFs(empty).dmi()).toEqual({ vendor: undefined, product: undefined });
});

test("reads the loopback link, which has no hardware address and no speed", async () => {
  expect((await createSysFs().links()).get("lo")).toMatchObject({ mac: null, speedMbps: null, up: true });
});

test("reads the room of the root, and none of a mount that is gone", async () => {
  const root = createProcFs()
    .mounts()
    .find(({ mount }) => mount === "/");
  if (root === undefined) throw new Error("a machine without a root");
  const byProgram = { ...root, type: "nfs4" };

  expect((await roomOf(root))?.sizeBytes).toBeGreaterThan(0);
  expect((await roomOf(byProgram))?.sizeBytes).toBe((await roomOf(root))?.sizeBytes);
  expect(await roomOf({ ...root, mount: "/no/such/mount" })).toBeUndefined();
  expect(await roomOf({ ...byProgram, mount: "/no/such/mount" })).toBeUndefined();
  expect(await isWritable({ ...root, mount: tmpdir() })).toBe(true);
  expect(await isWritable({ ...byProgram, mount: tmpdir() })).toBe(true);
  expect(await isWritable({ ...root, mount: "/no/such/mount" })).toBe(false);
});

test("reads stat's six numbers and nothing else", () => {
  expect(parseStat("4096 100 40 30 1000 900\n")).toEqual({
    sizeBytes: 409_600,
    freeBytes: 122_880,
    usedBytes: 245_760,
    inodes: 1000,
    inodesFree: 900,
  });
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(parseStat(`x ${text}`)).toBeUndefined();
    }),
  );
});

test("reads who the system says it is", async () => {
  expect((await readOsRelease()).id).toMatch(/^[a-z0-9._-]+$/);
  expect(await readMachineId()).toSatisfy((id) => id === null || /^[0-9a-f]{32}$/.test(String(id)));
});
