// SPDX-License-Identifier: Apache-2.0
/** Which source decides. */
import { expect, test } from "vitest";
import { type VirtualisationClues, virtualisationOf } from "./virtualisation.ts";

const NOTHING: VirtualisationClues = {
  detectVirt: undefined,
  vendor: undefined,
  product: undefined,
  hypervisorFlag: false,
};

test.each<[string, Partial<VirtualisationClues>, string]>([
  ["systemd-detect-virt wins", { detectVirt: "docker\n", vendor: "QEMU" }, "docker"],
  ["hardware as it says", { detectVirt: "none\n", vendor: "Dell Inc." }, "none"],
  ["an error text is no answer", { detectVirt: "Failed to check\n", vendor: "QEMU", product: "Standard PC" }, "qemu"],
  ["DMI of a cloud", { vendor: "Amazon EC2", product: "m5.large" }, "amazon"],
  ["DMI of a desktop hypervisor", { vendor: "innotek GmbH", product: "VirtualBox" }, "oracle"],
  ["a flag without DMI", { hypervisorFlag: true }, "vm-other"],
  ["a known board without the flag", { vendor: "Supermicro", product: "" }, "none"],
  ["no source at all", {}, "unknown"],
])("%s", (_title, clues, expected) => {
  expect(virtualisationOf({ ...NOTHING, ...clues })).toBe(expected);
});
