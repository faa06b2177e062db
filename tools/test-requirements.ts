// SPDX-License-Identifier: Apache-2.0
/**
 * The Debian packages that test suites need, and their installation before a run: as root on Debian the missing ones are
 * named and installed, elsewhere they are only named and the suites report themselves as skipped.
 */
import { accessSync, constants, existsSync } from "node:fs";
import path from "node:path";
import { execa } from "execa";

/** A package, a program by which its presence is seen, and the suites that need it. */
export interface Requirement {
  readonly package: string;
  readonly binary: string;
  readonly suites: readonly string[];
}

export const REQUIREMENTS: readonly Requirement[] = [
  { package: "avahi-daemon", binary: "avahi-daemon", suites: ["test/integration/discovery"] },
  { package: "avahi-utils", binary: "avahi-browse", suites: ["test/integration/discovery"] },
  { package: "dbus", binary: "dbus-daemon", suites: ["test/integration/discovery"] },
  { package: "bind9", binary: "named", suites: ["test/integration/dns", "test/integration/operation", "test/e2e"] },
  {
    package: "bind9-dnsutils",
    binary: "nsupdate",
    suites: ["test/integration/dns", "test/integration/operation", "test/e2e"],
  },
  { package: "docker.io", binary: "dockerd", suites: ["test/e2e"] },
  { package: "docker-compose", binary: "docker-compose", suites: ["test/e2e"] },
  { package: "faketime", binary: "faketime", suites: ["test/integration/formation"] },
  { package: "iproute2", binary: "ip", suites: ["test/integration", "test/e2e"] },
  { package: "iptables", binary: "iptables", suites: ["test/e2e"] },
  { package: "systemd", binary: "systemd-analyze", suites: ["test/integration/systemd"] },
  { package: "mmdebstrap", binary: "mmdebstrap", suites: ["test/integration/systemd", "test/e2e"] },
  { package: "util-linux", binary: "lsblk", suites: ["test/integration/node-agent", "test/e2e"] },
];

/**
 * The requirements of the suites that `filters` (paths, as given to `npm test`) select; without a filter all of them, those of the
 * soak tests only where these run.
 */
export function requirementsFor(filters: readonly string[], soak: boolean): Requirement[] {
  const selects = (suite: string): boolean =>
    filters.some((filter) => filter.includes(suite) || suite.includes(filter));
  const runs = (suite: string): boolean => soak || !suite.startsWith("test/soak");
  return REQUIREMENTS.filter(({ suites }) =>
    suites.some((suite) => runs(suite) && (filters.length === 0 || selects(suite))),
  );
}

/**
 * Says what is missing and, if `install` and this is root on Debian, installs it. Returns what is still missing.
 * A failing apt is reported and not thrown: the suites concerned then skip themselves by name.
 */
export async function ensureRequirements(
  filters: readonly string[],
  { install, soak }: { readonly install: boolean; readonly soak: boolean },
): Promise<Requirement[]> {
  const missing = requirementsFor(filters, soak).filter((requirement) => !isInstalled(requirement.binary));
  if (missing.length === 0) return [];
  const packages = missing.map((requirement) => requirement.package);
  const able = process.getuid?.() === 0 && existsSync("/etc/debian_version");
  if (!install || !able) {
    console.log(`[WARN] not installed: ${packages.join(" ")}${install ? " (installing needs root on Debian)" : ""}`);
  } else {
    console.log(`[INFO] installing Debian packages for the tests: ${packages.join(" ")}`);
    await installPackages(packages);
  }
  const still = missing.filter((requirement) => !isInstalled(requirement.binary));
  for (const requirement of still) {
    console.log(`[WARN] without ${requirement.package}: ${requirement.suites.join(", ")} will skip tests`);
  }
  return still;
}

async function installPackages(packages: readonly string[]): Promise<void> {
  const args = ["install", "-y", "--no-install-recommends", ...packages];
  if (!(await areKnown(packages))) await apt(["update"]);
  if (await apt(args)) return;
  // Lists that are older than the archive name files that are gone.
  await apt(["update"]);
  if (!(await apt(args))) console.log("[WARN] apt-get install failed");
}

async function areKnown(packages: readonly string[]): Promise<boolean> {
  const result = await execa("apt-cache", ["show", "--no-all-versions", ...packages], {
    reject: false,
    stdout: "ignore",
    stderr: "ignore",
  });
  return !result.failed;
}

async function apt(args: readonly string[]): Promise<boolean> {
  const result = await execa("apt-get", ["-qq", "-o", "DPkg::Lock::Timeout=600", ...args], {
    reject: false,
    stdio: ["ignore", 2, 2],
    timeout: 15 * 60_000,
    env: { DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C.UTF-8" },
  });
  return !result.failed;
}

/** Whether a program is on the path or where Debian keeps those of root. */
export function isInstalled(binary: string): boolean {
  const folders = [...(process.env["PATH"] ?? "").split(path.delimiter), "/usr/sbin", "/sbin"];
  return folders.some((folder) => isExecutable(path.join(folder, binary)));
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
