// SPDX-License-Identifier: Apache-2.0
/**
 * A machine on a host of a LAN (lan.ts): namespaces for its processes, its mounts and its host name, an own /run and an own /etc
 * with `/etc/debvisor` from a folder of the test. Its disk, that folder and the node folder, outlives a power cut. Its units are
 * supervised by the test as systemd would: started again a second after a failure, and ended with all that they started.
 */
import type { ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Lan, RunOptions } from "./lan.ts";
import type { CommandResult } from "./local-cluster.ts";
import { MachineUnit, onlyChildOf, type UnitHost } from "./machine-unit.ts";
import { waitFor } from "./wait-for.ts";

const PATIENCE_MS = 10_000;

/** Runs as process 1 of the machine, and so also waits for those whose parents are gone, as an init does. */
const INIT = `
set -e
mount -t tmpfs tmpfs "$1/volatile"
mkdir "$1/volatile/up" "$1/volatile/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/volatile/up,workdir=$1/volatile/work" /etc
mkdir -p /etc/debvisor
mount --bind "$1/etc" /etc/debvisor
mount -t tmpfs tmpfs /run
hostname "$2"
echo "$2" > /etc/hostname
echo powered
while :; do sleep 86400 & wait $!; done`;

export interface MachineOptions {
  /** Host name. Default: `m<host + 1>`. */
  readonly name?: string;
  /** Files of /etc/debvisor by name. */
  readonly files?: Readonly<Record<string, string>>;
  /** Environment of every program, above PATH and the like. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A machine; off until `powerOn`. */
export class Machine implements AsyncDisposable, UnitHost {
  readonly lan: Lan;
  readonly host: number;
  readonly name: string;
  readonly dir: string;
  /** Everything that the machine's programs have written, a line each: `<unit>: <text>`. */
  readonly log: string[] = [];
  readonly env: Readonly<Record<string, string>>;
  #power: ChildProcess | undefined;
  #init: number | undefined;
  #units: MachineUnit[] = [];

  constructor(lan: Lan, host: number, { name = `m${host + 1}`, files = {}, env = {} }: MachineOptions = {}) {
    this.lan = lan;
    this.host = host;
    this.name = name;
    this.dir = mkdtempSync(path.join(tmpdir(), "dv-machine-"));
    this.env = {
      PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      HOME: "/root",
      LC_ALL: "C.UTF-8",
      ...env,
    };
    for (const folder of [this.nodeDir, this.etcDir, path.join(this.dir, "volatile")]) {
      mkdirSync(folder, { mode: 0o700 });
    }
    for (const [file, text] of Object.entries(files))
      writeFileSync(path.join(this.etcDir, file), text, { mode: 0o600 });
  }

  /** The node folder, under the same path inside and outside. */
  get nodeDir(): string {
    return path.join(this.dir, "node");
  }

  /** What the machine sees as /etc/debvisor. */
  get etcDir(): string {
    return path.join(this.dir, "etc");
  }

  get isOn(): boolean {
    return this.#init !== undefined;
  }

  /** Address of the machine in a network of its LAN. */
  address(network = 0): string {
    return this.lan.address(this.host, network);
  }

  /** Last lines of the log, for messages of failing tests. */
  tail(lines = 40): string {
    return `${this.name}:\n${this.log.slice(-lines).join("\n")}`;
  }

  async powerOn(): Promise<void> {
    if (this.isOn) throw new Error(`${this.name} is on`);
    const child = this.lan.spawn(this.host, [
      ...["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"],
      ...["--propagation", "private", "sh", "-c", INIT, "init", this.dir, this.name],
    ]);
    let output = "";
    let ended = false;
    for (const stream of [child.stdout, child.stderr]) stream?.on("data", (text) => (output += String(text)));
    child.once("close", () => {
      ended = true;
      this.#init = undefined;
    });
    await waitFor(
      () => ended || output.includes("powered"),
      PATIENCE_MS,
      () => `${this.name} does not start: ${output}`,
    );
    this.#init = onlyChildOf(child.pid ?? 0);
    if (ended || this.#init === undefined) throw new Error(`${this.name} does not start: ${output}`);
    this.#power = child;
  }

  /** Ends everything at once, as a power cut does; what was written but not synchronised is kept, other than by a real one. */
  async powerOff(): Promise<void> {
    const [power, init] = [this.#power, this.#init];
    for (const unit of this.#units.splice(0)) unit.abandon();
    if (!power || init === undefined) return;
    process.kill(init, "SIGKILL");
    // Its end is that of all processes of the namespace (pid_namespaces(7)).
    await waitFor(
      () => this.#init === undefined,
      PATIENCE_MS,
      () => `${this.name} does not end`,
    );
    this.#power = undefined;
  }

  /** Runs a program on the machine to its end. */
  exec(argv: readonly string[], options: Omit<RunOptions, "env"> = {}): Promise<CommandResult> {
    return this.lan.exec(this.host, [...this.#inside(), ...argv], options);
  }

  /** Starts a program on the machine that nobody supervises. */
  spawnInside(argv: readonly string[]): ChildProcess {
    return this.lan.spawn(this.host, [...this.#inside(), ...argv]);
  }

  /** Starts a unit that is started again a second after each failure, until it is stopped. */
  supervise(name: string, argv: readonly string[]): MachineUnit {
    const unit = new MachineUnit(this, name, argv);
    this.#units.push(unit);
    unit.start();
    return unit;
  }

  unit(name: string): MachineUnit {
    const unit = this.#units.find((one) => one.name === name && !one.hasEnded);
    if (!unit) throw new Error(`${this.name} runs no ${name}; ${this.tail()}`);
    return unit;
  }

  /** Names of the units that run or are about to be started again. */
  units(): string[] {
    return this.#units.filter(({ hasEnded }) => !hasEnded).map(({ name }) => name);
  }

  /** Stops the units, the last started first, then the machine. */
  async shutDown(): Promise<void> {
    const [first, ...others] = this.#units;
    await Promise.all(others.map((unit) => unit.stop()));
    await first?.stop();
    await this.powerOff();
  }

  /** Turns the machine off and removes its disk. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.powerOff();
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  /** What puts a program into the machine, with the machine's environment and in a session of its own. */
  #inside(): string[] {
    if (this.#init === undefined) throw new Error(`${this.name} is off`);
    const settings = Object.entries(this.env).map(([key, value]) => `${key}=${value}`);
    const enter = ["nsenter", "--target", String(this.#init), "--mount", "--uts", "--ipc", "--pid"];
    return [...enter, "setsid", "env", "--ignore-environment", ...settings];
  }
}
