// SPDX-License-Identifier: Apache-2.0
/** Decides what kind of machine the host is, from whichever source there is. */

/** What could be learnt; undefined where a source is missing. */
export interface VirtualisationClues {
  /** Output of systemd-detect-virt, which prints `none` on hardware. */
  readonly detectVirt: string | undefined;
  /** DMI system vendor and product. */
  readonly vendor: string | undefined;
  readonly product: string | undefined;
  /** Flag `hypervisor` of the processor. */
  readonly hypervisorFlag: boolean;
}

/** DMI texts of common hypervisors, with the names that systemd-detect-virt gives them. Order matters: KVM clouds first. */
const DMI_NAMES: readonly (readonly [RegExp, string])[] = [
  [/amazon ec2/i, "amazon"],
  [/google compute engine|kvm/i, "kvm"],
  [/qemu/i, "qemu"],
  [/vmware/i, "vmware"],
  [/virtualbox|innotek/i, "oracle"],
  [/microsoft corporation.*virtual machine/i, "microsoft"],
  [/parallels/i, "parallels"],
  [/apple virtualization/i, "apple"],
  [/xen/i, "xen"],
];

/**
 * Names the virtualisation as systemd-detect-virt does: `none`, `kvm`, `docker` … Without systemd-detect-virt the DMI
 * texts decide, then the processor's flag (`vm-other`). `unknown` when no source says anything.
 */
export function virtualisationOf(clues: VirtualisationClues): string {
  const said = clues.detectVirt?.trim();
  if (said !== undefined && /^[a-z][a-z0-9-]*$/.test(said)) return said;
  const dmi = [clues.vendor, clues.product].filter((text) => text !== undefined && text !== "").join(" ");
  const named = DMI_NAMES.find(([pattern]) => pattern.test(dmi));
  if (named !== undefined) return named[1];
  if (clues.hypervisorFlag) return "vm-other";
  return dmi === "" ? "unknown" : "none";
}
