// SPDX-License-Identifier: Apache-2.0
/**
 * The Debian that systemd nodes of tests run: a minimal bookworm with systemd as process 1, made once by mmdebstrap and kept in .cache.
 * It brings its own systemd-nspawn, because Debian's systemd-container would upgrade the systemd of the machine that tests.
 */
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { ROOT } from "../../tools/paths.ts";
import { isInstalled } from "../../tools/test-requirements.ts";
import { lanLacks, run } from "./lan-namespaces.ts";

const PACKAGES = [
  ...["systemd", "systemd-sysv", "dbus", "polkitd", "iproute2", "procps", "systemd-container", "libatomic1"],
  ...["avahi-daemon", "avahi-utils"],
];
/** Raised when the packages change. */
const TREE = path.join(ROOT, ".cache", "systemd-tree-1");
const MAKE_MS = 10 * 60_000;

/** What this machine lacks for systemd nodes; empty when it can have them. */
export function systemdNodesLack(): string[] {
  const programs = ["mmdebstrap", "systemctl"].filter((program) => !isInstalled(program));
  return [...lanLacks(), ...(existsSync(TREE) ? programs.filter((program) => program !== "mmdebstrap") : programs)];
}

/** Folder of the tree; made when it is missing, which takes about half a minute and the Debian archive. @throws Error */
export async function systemdTree(): Promise<string> {
  if (existsSync(TREE)) return TREE;
  const unfinished = `${TREE}.${process.pid}`;
  mkdirSync(path.dirname(TREE), { recursive: true });
  const flags = ["--variant=minbase", "--format=directory", `--include=${PACKAGES.join(",")}`];
  const { code, stderr } = await run(["mmdebstrap", ...flags, "bookworm", unfinished], "", MAKE_MS);
  if (code !== 0) {
    rmSync(unfinished, { recursive: true, force: true });
    throw new Error(`the Debian tree cannot be made: ${stderr.slice(-2_000)}`);
  }
  // A second test process may have been quicker.
  if (existsSync(TREE)) rmSync(unfinished, { recursive: true, force: true });
  else renameSync(unfinished, TREE);
  return TREE;
}
