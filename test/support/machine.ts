// SPDX-License-Identifier: Apache-2.0
/**
 * A machine on loopback as systemd would run it: a folder with the node's files, and the programs of its units, each a process of its
 * own. What is typed at it goes through the real commands.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { locateNatsServer } from "@debvisor/shared/nats-server/locate";
import { freePorts } from "./free-ports.ts";
import { waitFor } from "./wait-for.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const NODE = path.join(ROOT, "node_modules/.bin/debvisor-node");
const STOP_MS = 8_000;
const FOUNDING_MS = 20_000;

/** What a finished command left. */
export interface Typed {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A machine. Its folder and its processes go with it. */
export class Machine implements AsyncDisposable {
  readonly name: string;
  readonly dir: string;
  readonly etc: string;
  /** As `--ports` takes them. */
  readonly ports: string;
  readonly joinPort: number;
  readonly #folder: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #running = new Map<string, ChildProcess>();
  /** With what its programs see another /etc than this machine's; needs root. */
  #seen: readonly string[] = [];
  /** What the units have logged. */
  log = "";

  private constructor(name: string, folder: string, ports: readonly number[], nats: string) {
    const [bus, cluster, monitor, a, b, c, join = 0, gateway] = ports;
    this.name = name;
    this.#folder = folder;
    this.dir = path.join(folder, "node");
    this.etc = path.join(folder, "etc");
    this.joinPort = join;
    this.ports = `bus=${bus},cluster=${cluster},monitor=${monitor},helper=${a}/${b}/${c},join=${join},gateway=${gateway}`;
    this.#env = {
      NATS_SERVER: nats,
      HOME: folder,
      DV_CONTEXT: path.join(this.etc, "context.json"),
      DV_DISCOVERY_INTERFACES: "127.0.0.1",
    };
  }

  static async create(name: string): Promise<Machine> {
    const cacheDir = path.join(ROOT, ".cache/nats");
    const [ports, nats] = await Promise.all([
      freePorts(8),
      locateNatsServer({ cacheDir, fetch: true, log: () => undefined }),
    ]);
    return new Machine(name, mkdtempSync(path.join(tmpdir(), "dv-machine-")), ports, nats.path);
  }

  /** The same node on another machine, which has its own /etc/machine-id: what a copy of the disk is. Stop the original first. */
  async clone(machineId: string): Promise<Machine> {
    const clone = await Machine.create(this.name);
    for (const [from, to] of [
      [this.dir, clone.dir],
      [this.etc, clone.etc],
    ] as const)
      cpSync(from, to, { recursive: true, preserveTimestamps: true });
    const etc = path.join(clone.#folder, "machine-etc");
    cpSync("/etc", etc, { recursive: true, verbatimSymlinks: true });
    writeFileSync(path.join(etc, "machine-id"), `${machineId}\n`);
    const script = 'mount --bind "$1" /etc && shift && exec "$@"';
    clone.#seen = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", etc];
    return clone;
  }

  /** Types a command. Folders, name, address and ports are given where the command takes them. */
  async type(program: string, args: readonly string[], stdin: string | Promise<string> = ""): Promise<Typed> {
    const typed = this.begin(program, args);
    void Promise.resolve(stdin).then((text) => typed.answer(text));
    return await typed.done;
  }

  /** Types a command that asks: what it has said so far, and how to answer. Nothing can be answered twice. */
  begin(program: string, args: readonly string[]) {
    const bin = path.join(ROOT, `apps/cli/bin/${program}.cjs`);
    const [command = NODE, ...words] = [...this.#seen, NODE, bin, ...args];
    const child = spawn(command, words, { cwd: this.#folder, env: { ...process.env, ...this.#env } });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    // A command that ends without reading is no failure of the pipe.
    child.stdin.on("error", () => undefined);
    const done = new Promise<Typed>((resolve) => child.once("close", (code) => resolve({ code, stdout, stderr })));
    return { said: () => stderr, answer: (text: string) => void child.stdin.end(text), done };
  }

  dvctl(...args: string[]): Promise<Typed> {
    return this.type("dvctl", args);
  }

  /** The flags that keep this machine apart from the others on loopback. */
  get flags(): string[] {
    return ["--name", this.name, "--listen", "127.0.0.1", "--ports", this.ports, "--node-dir", this.dir];
  }

  /** Starts units: `bus`, or the name of a service. */
  start(...units: string[]): void {
    for (const unit of units) {
      const program = unit === "bus" ? "deploy/bus/main.ts" : `services/${unit}/main.ts`;
      const argv = [...this.#seen, NODE, path.join(ROOT, program), "--node-dir", this.dir];
      const [command = NODE, ...words] = argv;
      const child = spawn(command, words, {
        env: { ...process.env, ...this.#env },
        stdio: ["ignore", "pipe", "pipe"],
      });
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding("utf8").on("data", (text: string) => (this.log += text));
      child.once("close", (code, signal) => (this.log += `${unit} ended (${code ?? signal})\n`));
      this.#running.set(unit, child);
    }
  }

  /** Founds cluster `lab1` by hand on this machine, and starts its units. Resolves when they answer. */
  async foundAlone(): Promise<void> {
    const founded = await this.dvctl("cluster", "init", "--single", "--id", "lab1", "--etc", this.etc, ...this.flags);
    if (founded.code !== 0) throw new Error(founded.stderr);
    this.start("bus", "discovery", "gateway", "node-agent");
    for (const noun of ["cluster", "maintenance"]) {
      let said = "";
      const answers = async () => {
        const { code, stderr } = await this.dvctl(noun, "status");
        said = stderr;
        return code === 0;
      };
      await waitFor(answers, FOUNDING_MS, () => `${noun} status: ${said}; ${this.log.slice(-4_000)}`);
    }
  }

  /** Stops every unit, the bus last. */
  async stop(): Promise<void> {
    const units = [...this.#running].sort(([a], [b]) => Number(a === "bus") - Number(b === "bus"));
    this.#running.clear();
    for (const [, child] of units) await ended(child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = new Promise((resolve) => child.once("close", resolve));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
  await closed;
  clearTimeout(timer);
}
