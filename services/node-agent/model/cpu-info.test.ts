// SPDX-License-Identifier: Apache-2.0
/** Recorded x86 and the shapes of ARM and of two sockets. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseCpuInfo } from "./cpu-info.ts";

test("reads the recorded processors of the build machine", () => {
  const text = readFileSync(new URL("../drivers/samples/linux-6.18.44-proc-cpuinfo.txt", import.meta.url), "utf8");

  expect(parseCpuInfo(text, 2)).toEqual({
    model: "AMD EPYC",
    sockets: 1,
    cores: 2,
    threads: 2,
    flags: ["aes", "avx2", "avx512f"],
    hypervisor: true,
  });
});

test("counts cores per socket", () => {
  const thread = (socket: number, core: number) =>
    `model name\t: Xeon\nphysical id\t: ${socket}\ncore id\t\t: ${core}\nflags\t\t: vmx aes\n\n`;
  const text = [thread(0, 0), thread(0, 0), thread(0, 1), thread(1, 0), thread(1, 1)].join("");

  expect(parseCpuInfo(text, 8)).toEqual({
    model: "Xeon",
    sockets: 2,
    cores: 4,
    threads: 8,
    flags: ["vmx", "aes"],
    hypervisor: false,
  });
});

test("takes what ARM states, which is no topology", () => {
  const text = "processor\t: 0\nFeatures\t: fp asimd aes\nCPU part\t: 0xd08\n\nModel\t\t: Raspberry Pi 4\n";

  expect(parseCpuInfo(text, 4)).toMatchObject({
    model: "Raspberry Pi 4",
    sockets: 1,
    cores: 4,
    threads: 4,
    flags: ["aes"],
  });
  expect(parseCpuInfo("model name\t: \n", 0)).toMatchObject({ model: "unknown", cores: 1, threads: 1 });
});

test("gives positive numbers for any text", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.nat({ max: 512 }), (text, threads) => {
      const { sockets, cores, threads: seen } = parseCpuInfo(text, threads);
      expect(Math.min(sockets, cores, seen)).toBeGreaterThan(0);
    }),
  );
});
