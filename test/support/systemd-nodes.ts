// SPDX-License-Identifier: Apache-2.0
/**
 * Machines with systemd as process 1 on hosts of a LAN (lan.ts): systemd-nspawn on a Debian tree, the project in /opt/debvisor, its
 * units enabled as an installer would, and a preseed file. All that a node writes goes into a folder of its own (an overlay).
 */
import type { ChildProcess } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { locateNatsServer } from "@debvisor/shared/nats-server/locate";
import { NATS_CACHE_DIR, ROOT } from "../../tools/paths.ts";
import type { Lan, RunOptions } from "./lan.ts";
import { run } from "./lan-namespaces.ts";
import type { CommandResult } from "./local-cluster.ts";
import { onlyChildOf } from "./machine-unit.ts";
import { systemdTree } from "./systemd-tree.ts";
import { waitFor } from "./wait-for.ts";

const BOOT_MS = 30_000;
const STOP_MS = 20_000;
const CGROUPS = "/sys/fs/cgroup";
/** What nspawn ends with when the system inside wants to be started again and a service manager is to do it. */
const RESTART_STATUS = 133;
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Mounts vanish with the process, since they are made in a mount namespace of its own. */
const BOOT = `
set -e
dir=$1 tree=$2; shift 2
for controller in "$dir"/cgroups/*; do echo $$ > "$(cat "$controller")/cgroup.procs"; done
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$dir/up,workdir=$dir/work" "$dir/root"
while :; do
  status=0
  LD_LIBRARY_PATH="$tree/usr/lib/x86_64-linux-gnu/systemd:$tree/usr/lib/aarch64-linux-gnu/systemd" "$tree/usr/bin/systemd-nspawn" "$@" || status=$?
  [ "$status" -eq ${RESTART_STATUS} ] || exit "$status"
done`;

export interface SystemdNodeOptions {
  /** Host name. Default: `s<host + 1>`. */
  readonly name?: string;
  /** Files of /etc/debvisor: name, and text. The preseed file belongs to root alone, the others are for all to read. */
  readonly files?: Readonly<Record<string, string>>;
  /** Units of the Debian tree that are not to start. */
  readonly masked?: readonly string[];
}

export class SystemdNode implements AsyncDisposable {
  readonly lan: Lan;
  readonly host: number;
  readonly name: string;
  readonly dir: string;
  console = "";
  #process: ChildProcess | undefined;

  constructor(lan: Lan, host: number, name: string) {
    this.lan = lan;
    this.host = host;
    this.name = name;
    this.dir = mkdtempSync(path.join(tmpdir(), "dv-systemd-"));
  }

  /** Installs the project and boots. Resolves when systemd has started what it is to start, units that fail included. */
  async install({ files = {}, masked = [] }: SystemdNodeOptions): Promise<void> {
    const up = (...parts: string[]): string => path.join(this.dir, "up", ...parts);
    for (const folder of [up("etc/debvisor"), up("etc/systemd/system"), up("etc/polkit-1/rules.d")]) {
      mkdirSync(folder, { recursive: true });
    }
    for (const folder of ["sysusers.d", "tmpfiles.d"]) mkdirSync(up("usr/lib", folder), { recursive: true });
    for (const folder of ["work", "root", "cgroups"]) mkdirSync(path.join(this.dir, folder));
    for (const [file, text] of Object.entries(files)) {
      writeFileSync(up("etc/debvisor", file), text, { mode: file === "preseed.yaml" ? 0o600 : 0o644 });
    }
    writeFileSync(up("etc/hostname"), `${this.name}\n`);
    // The value that has systemd make a new one, as in an image (machine-id(5)).
    writeFileSync(up("etc/machine-id"), "uninitialized\n");
    const units = readdirSync(path.join(ROOT, "systemd"));
    for (const unit of units) copyFileSync(path.join(ROOT, "systemd", unit), up(placeOf(unit)));
    // nspawn gives each system a boot id by a mount on a file of /proc/sys, which these protections hide. A machine has its own.
    mkdirSync(up("etc/systemd/system/debvisor-node-agent.service.d"));
    const dropIn = "[Service]\nProtectKernelTunables=no\nProtectControlGroups=no\n";
    writeFileSync(up("etc/systemd/system/debvisor-node-agent.service.d/boot-id.conf"), dropIn);
    // What a timer starts is no part of every machine.
    const enabled = units.filter((unit) => /^debvisor.*\.(?:service|target|path)$/.test(unit));
    await this.#offline("enable", enabled);
    await this.#offline("mask", ["systemd-firstboot.service", "getty.target", "console-getty.service", ...masked]);
    this.#makeCgroups();
    await this.#boot();
  }

  /** Runs a program on the node, as root. */
  exec(argv: readonly string[], options: Omit<RunOptions, "env"> = {}): Promise<CommandResult> {
    const enter = ["nsenter", "--target", String(this.#leader()), "--mount", "--uts", "--ipc", "--net", "--pid"];
    const env = ["env", "--ignore-environment", `PATH=${PATH}`, "LC_ALL=C.UTF-8"];
    return run([...enter, ...env, ...argv], options.input, options.timeoutMs);
  }

  /** Properties of a unit. */
  async show(unit: string, ...properties: string[]): Promise<Record<string, string>> {
    const { stdout } = await this.exec(["systemctl", "show", `--property=${properties.join(",")}`, unit]);
    return Object.fromEntries(
      stdout
        .trim()
        .split("\n")
        .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
    );
  }

  /** The journal of the project's units, what systemd still has to do, and the console's end, for messages of failing tests. */
  async journal(lines = 60): Promise<string> {
    const argv = ["journalctl", "--no-pager", "--output=short-precise", `--lines=${lines}`, "--unit=debvisor*"];
    const said = async (each: readonly string[]) => {
      try {
        return (await this.exec(each)).stdout;
      } catch (error) {
        return String(error);
      }
    };
    const texts = await Promise.all([argv, ["systemctl", "list-jobs", "--no-pager"]].map(said));
    return [`${this.name}:`, ...texts, this.console.slice(-1_000)].join("\n");
  }

  async untilBooted(): Promise<void> {
    await waitFor(
      async () => {
        if (this.#leaderIfAny() === undefined) return false;
        const { stdout } = await this.exec(["systemctl", "is-system-running"]);
        return /^(?:running|degraded|starting)/.test(stdout);
      },
      BOOT_MS,
      () => `${this.name} does not boot: ${this.console.slice(-2_000)}`,
    );
  }

  /** Powers off in an orderly way (SIGRTMIN+3, systemd(1)), then removes what the node has written. */
  async [Symbol.asyncDispose](): Promise<void> {
    const leader = this.#leaderIfAny();
    if (leader !== undefined) {
      await run(["kill", "-s", "RTMIN+3", String(leader)]);
      await waitFor(
        () => this.#process === undefined,
        STOP_MS,
        () => `${this.name} does not power off`,
      ).catch(() => this.#process?.kill("SIGKILL"));
    }
    for (const group of this.#cgroups()) removeGroup(group);
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }

  async #boot(): Promise<void> {
    const natsServer = await locateNatsServer({ cacheDir: NATS_CACHE_DIR, fetch: true, log: () => undefined });
    // The console is read: otherwise process 1 waits for ever, half shut down, once what it says of a slow stop has filled the buffer.
    const nspawn = [
      ...["--directory", path.join(this.dir, "root"), "--boot", "--register=no", "--keep-unit", "--console=read-only"],
      ...["--quiet", `--network-namespace-path=/run/netns/${this.lan.namespace(this.host)}`, `--machine=${this.name}`],
      ...[`--bind-ro=${ROOT}:/opt/debvisor`, `--bind-ro=${natsServer.path}:/usr/bin/nats-server`],
    ];
    const argv = ["sh", "-c", BOOT, "boot", this.dir, await systemdTree(), ...nspawn];
    // Outside of the host's namespace: nspawn enters it by itself.
    const child = this.lan.spawnOutside(["unshare", "--mount", "--propagation", "private", ...argv]);
    this.#process = child;
    for (const stream of [child.stdout, child.stderr]) stream?.on("data", (text) => (this.console += String(text)));
    child.once("close", () => {
      this.#process = undefined;
    });
    await this.untilBooted();
  }

  #leader(): number {
    const leader = this.#leaderIfAny();
    if (leader === undefined) throw new Error(`${this.name} does not run: ${this.console.slice(-2_000)}`);
    return leader;
  }

  /** Process 1 of the node: child of nspawn, which is the child of the shell. */
  #leaderIfAny(): number | undefined {
    const nspawn = onlyChildOf(this.#process?.pid ?? 0);
    return nspawn === undefined ? undefined : onlyChildOf(nspawn);
  }

  async #offline(verb: string, units: readonly string[]): Promise<void> {
    // The tree's own units have to be in sight for their names to be known, hence a merged view.
    const mount = `mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/up,workdir=$1/work" "$1/root"`;
    const script = `${mount}; root=$1/root; shift 2; systemctl --quiet --root="$root" "$@"`;
    const argv = ["sh", "-c", script, "offline", this.dir, await systemdTree(), verb, ...units];
    const { code, stderr } = await run(["unshare", "--mount", "--propagation", "private", ...argv]);
    if (code !== 0) throw new Error(`systemctl ${verb}: ${stderr}`);
  }

  /** One group per hierarchy of this machine, so that the node's processes are counted as its own. */
  #makeCgroups(): void {
    const hierarchies = readdirSync(CGROUPS, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    const legacy = hierarchies.filter(({ name }) => ["systemd", "unified", "memory", "pids", "cpu"].includes(name));
    const roots = legacy.length > 0 ? legacy.map(({ name }) => path.join(CGROUPS, name)) : [CGROUPS];
    for (const [at, root] of roots.entries()) {
      const group = path.join(root, path.basename(this.dir));
      mkdirSync(group, { recursive: true });
      writeFileSync(path.join(this.dir, "cgroups", String(at)), group);
    }
  }

  #cgroups(): string[] {
    const name = path.basename(this.dir);
    return ["", "systemd", "unified", "memory", "pids", "cpu"].map((root) => path.join(CGROUPS, root, name));
  }
}

/** Boots a node. */
export async function startSystemdNode(lan: Lan, host: number, options: SystemdNodeOptions = {}): Promise<SystemdNode> {
  const node = new SystemdNode(lan, host, options.name ?? `s${host + 1}`);
  try {
    await node.install(options);
    return node;
  } catch (error) {
    await node[Symbol.asyncDispose]();
    throw error;
  }
}

function placeOf(unit: string): string {
  if (unit.endsWith(".rules")) return path.join("etc/polkit-1/rules.d", unit);
  if (unit.endsWith(".sysusers")) return "usr/lib/sysusers.d/debvisor.conf";
  if (unit.endsWith(".tmpfiles")) return "usr/lib/tmpfiles.d/debvisor.conf";
  return path.join("etc/systemd/system", unit);
}

/** Removes a control group with the groups below it; those that still hold processes stay. */
function removeGroup(group: string): void {
  try {
    for (const entry of readdirSync(group, { withFileTypes: true })) {
      if (entry.isDirectory()) removeGroup(path.join(group, entry.name));
    }
    rmdirSync(group);
  } catch {
    // It is not there, or somebody still uses it.
  }
}
