// SPDX-License-Identifier: Apache-2.0
/** Recorded and older shapes of lsblk's JSON, and this machine. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { listBlockDevices, parseLsblk } from "./lsblk.ts";

test("reads the recorded report without devices that have no size", () => {
  const json = readFileSync(new URL("samples/lsblk-2.38.1-json-nodeps.json", import.meta.url), "utf8");

  expect(parseLsblk(json)).toEqual([
    { name: "vda", sizeBytes: 274_877_906_944, model: null, serial: null, rotational: true, type: "disk" },
  ]);
});

test("reads the strings of util-linux before 2.33, trimmed", () => {
  const device = { name: "sda", size: "1000", model: "Samsung SSD ", serial: "S1", rota: "0", type: "disk" };

  expect(parseLsblk(JSON.stringify({ blockdevices: [device, { ...device, name: "loop0", type: "loop" }] }))).toEqual([
    { name: "sda", sizeBytes: 1_000, model: "Samsung SSD", serial: "S1", rotational: false, type: "disk" },
  ]);
});

test("has no answer for an empty list, for missing fields, and for text that is no report", () => {
  expect(parseLsblk('{"blockdevices":[]}')).toBeUndefined();
  expect(parseLsblk('{"blockdevices":[{"size":1}]}')).toBeUndefined();
  fc.assert(fc.property(fc.oneof(fc.json(), fc.string({ unit: "binary" })), (text) => void parseLsblk(text)));
});

test("does not throw on this machine, whether lsblk is there or not", async () => {
  const disks = await listBlockDevices();

  expect(disks === undefined || disks.every(({ sizeBytes }) => sizeBytes > 0)).toBe(true);
});
