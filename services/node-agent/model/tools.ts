// SPDX-License-Identifier: Apache-2.0
/** The outside tools that DebVisor drives: how each tells its version, and how versions compare. */

/** How a tool is asked for its version. */
export interface Tool {
  readonly name: string;
  readonly args: readonly string[];
  /** Finds the version in what the tool prints; default: the first number with a dot. */
  readonly pattern?: RegExp;
  /** Debian package that brings it. */
  readonly package: string;
}

/** Every tool of the facts, in the order in which they are shown. */
export const TOOLS: readonly Tool[] = [
  { name: "nats-server", args: ["--version"], package: "nats-server" },
  { name: "ceph", args: ["--version"], package: "ceph-common" },
  { name: "zfs", args: ["version"], package: "zfsutils-linux" },
  { name: "virsh", args: ["--version"], package: "libvirt-clients" },
  { name: "qemu-img", args: ["--version"], package: "qemu-utils" },
  {
    name: "kubectl",
    args: ["version", "--client", "--output=json"],
    pattern: /"gitVersion":\s*"v([^"]+)"/,
    package: "kubectl",
  },
  { name: "jq", args: ["--version"], package: "jq" },
  { name: "curl", args: ["--version"], package: "curl" },
  { name: "systemctl", args: ["--version"], pattern: /^systemd (\d+)/, package: "systemd" },
  { name: "rauc", args: ["--version"], package: "rauc" },
  { name: "named", args: ["-v"], package: "bind9" },
  { name: "avahi-daemon", args: ["--version"], package: "avahi-daemon" },
  { name: "git", args: ["--version"], package: "git" },
];

/** A version that a tool did not tell, although the tool is there. */
export const UNKNOWN_VERSION = "unknown";

/** The version in a tool's output, without a leading `v`; `unknown` when the output holds none. Never throws. */
export function parseToolVersion(tool: Pick<Tool, "pattern">, output: string): string {
  const found = (tool.pattern ?? /(\d{1,9}(?:\.\d{1,9})+[0-9A-Za-z.+~-]*)/).exec(output)?.[1];
  return found === undefined ? UNKNOWN_VERSION : found.replace(/[.,+~-]+$/, "");
}

/** Compares the leading release numbers of two versions: negative, zero or positive. Missing parts count as 0. */
export function compareVersions(left: string, right: string): number {
  const [a, b] = [releaseOf(left), releaseOf(right)];
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function releaseOf(version: string): number[] {
  const release = /^v?(\d+(?:\.\d+)*)/.exec(version)?.[1];
  return release === undefined ? [] : release.split(".").map(Number);
}

/**
 * Oldest versions that our drivers were written for: Debian 12's, except nats-server (per-message TTL, strict atomic
 * publish) and kubectl, which Debian does not ship.
 */
export const DEFAULT_MINIMUM_VERSIONS = {
  "nats-server": "2.15.0",
  ceph: "16.2",
  zfs: "2.1",
  virsh: "9.0",
  "qemu-img": "7.2",
  kubectl: "1.28",
  jq: "1.6",
  curl: "7.88",
  systemctl: "252",
  rauc: "1.8",
  named: "9.18",
  "avahi-daemon": "0.8",
  git: "2.39",
} as const;
