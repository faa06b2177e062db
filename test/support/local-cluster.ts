// SPDX-License-Identifier: Apache-2.0
/**
 * The local cluster as a user starts it: `npm start`'s own script under the system's Node, on a folder and ports of its own.
 * `await using lab = await startLocalCluster()`; the folder is removed at the end, unless the test keeps it for a second run.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { freeBasePort } from "./free-ports.ts";
import { waitFor } from "./wait-for.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const START = path.join(ROOT, "apps/lab/bin/start.cjs");
const READY_MS = 40_000;

export interface LocalClusterOptions {
  readonly flags?: readonly string[];
  /** Default: a new folder that goes with the cluster. */
  readonly dataDir?: string;
  /** A node whose processes are killed as soon as it has been admitted. */
  readonly killWhenFound?: string;
}

export interface LabNodeStatus {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly pid: number | null;
  readonly natsPid: number | null;
  readonly gatewayUrl: string | null;
  readonly services: readonly { readonly name: string; readonly pid: number | null }[];
}

/** What a finished command left. */
export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

/** A folder for a cluster's data that is removed with `Symbol.dispose`. */
export function temporaryFolder(): { readonly dir: string; [Symbol.dispose](): void } {
  const dir = mkdtempSync(path.join(tmpdir(), "dv-lab-"));
  return { dir, [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }) };
}

/** Runs the launcher to its end, for starts that are to fail. */
export function runLauncher(flags: readonly string[]): Promise<CommandResult> {
  return runCommand("node", [START, ...flags], {});
}

/** Runs a program to its end. */
export async function runCommand(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  timeoutMs = 60_000,
): Promise<CommandResult> {
  const startedAt = performance.now();
  const child = spawn(program, [...args], { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  clearTimeout(timer);
  return { code, stdout, stderr, ms: performance.now() - startedAt };
}

/** A running local cluster. */
export class LocalCluster implements AsyncDisposable {
  readonly dataDir: string;
  readonly port: number;
  /** Milliseconds until the first line of output, and until "ready". */
  firstLineMs = 0;
  readyMs = 0;
  output = "";
  readonly #child: ChildProcess;
  readonly #folder: Disposable | undefined;
  #closed = false;

  constructor(dataDir: string, port: number, flags: readonly string[], folder: Disposable | undefined) {
    this.dataDir = dataDir;
    this.port = port;
    this.#folder = folder;
    const startedAt = performance.now();
    this.#child = spawn("node", [START, "--data", dataDir, "--port", String(port), ...flags], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.firstLineMs ||= performance.now() - startedAt;
        this.output += text;
        if (this.readyMs === 0 && this.output.includes(" ready: ")) this.readyMs = performance.now() - startedAt;
      });
    }
    this.#child.once("close", () => {
      this.#closed = true;
    });
  }

  async untilReady(): Promise<void> {
    await waitFor(
      () => this.readyMs > 0 || this.#closed,
      READY_MS,
      () => `not ready: ${this.output}`,
    );
    if (this.readyMs === 0) throw new Error(`the launcher ended: ${this.output}`);
  }

  /** Runs `dvctl` against this cluster. */
  dvctl(...args: readonly string[]): Promise<CommandResult> {
    return this.command("dvctl", ...args);
  }

  /** Runs one of the commands of apps/cli against this cluster. */
  command(name: string, ...args: readonly string[]): Promise<CommandResult> {
    return runCommand("node", [path.join(ROOT, "apps/cli/bin", `${name}.cjs`), ...args], {
      DV_CONTEXT: this.contextFile,
      NO_COLOR: "1",
    });
  }

  get contextFile(): string {
    return path.join(this.dataDir, "context.json");
  }

  get token(): string {
    return (JSON.parse(readFileSync(this.contextFile, "utf8")) as { token: string }).token;
  }

  /** Asks a gateway; `node` counts from 1. */
  fetch(route: string, init: RequestInit = {}, node = 1): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.port + node - 1}${route}`, {
      ...init,
      headers: { authorization: `Bearer ${this.token}`, ...(init.headers as Record<string, string> | undefined) },
      signal: AbortSignal.timeout(20_000),
    });
  }

  async nodes(): Promise<readonly LabNodeStatus[]> {
    const { stdout } = await this.dvctl("lab", "status", "--format", "json");
    return (JSON.parse(stdout) as { nodes: LabNodeStatus[] }).nodes;
  }

  /**
   * Waits until every stream has its three replicas. A server that dies while they are being raised holds them up for half a
   * minute; tests of what one server's death does begin after that.
   */
  async untilReplicated(): Promise<void> {
    const { code, stderr } = await this.dvctl(
      ...["events", "follow", "--filter", "cluster.replicas.raised", "--since", "0", "--count", "1", "--timeout", "60"],
    );
    if (code !== 0) throw new Error(`the replicas were not raised: ${stderr}`);
  }

  /** Waits until the registry shows each named node in a state. */
  async untilState(states: Readonly<Record<string, string>>, patienceMs: number): Promise<void> {
    let seen = "";
    await waitFor(
      async () => {
        const reply = await this.fetch("/v1/nodes").catch(() => undefined);
        if (reply?.status !== 200) return false;
        const { items } = (await reply.json()) as { items: { name: string; state: string }[] };
        seen = JSON.stringify(items.map(({ name, state }) => [name, state]));
        return Object.entries(states).every(([name, state]) =>
          items.some((node) => node.name === name && node.state === state),
        );
      },
      patienceMs,
      () => `wanted ${JSON.stringify(states)}, saw ${seen}`,
    );
  }

  /** Ctrl-C; returns the milliseconds until the launcher was gone. */
  async stop(): Promise<number> {
    if (this.#closed) return 0;
    const startedAt = performance.now();
    this.#child.kill("SIGTERM");
    await waitFor(
      () => this.#closed,
      10_000,
      () => `did not stop: ${this.output}`,
    ).catch((error: unknown) => {
      this.#child.kill("SIGKILL");
      throw error;
    });
    return performance.now() - startedAt;
  }

  /** Ends the launcher as a crash would; its nodes are left to themselves. */
  async killLauncher(): Promise<void> {
    const lab = JSON.parse(readFileSync(path.join(this.dataDir, "lab.json"), "utf8")) as { pid: number };
    process.kill(lab.pid, "SIGKILL");
    await waitFor(
      () => this.#closed,
      5_000,
      () => "the launcher goes on",
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.stop();
    } finally {
      this.#folder?.[Symbol.dispose]();
    }
  }
}

/** Starts a cluster and waits until it is ready. */
export async function startLocalCluster(options: LocalClusterOptions = {}): Promise<LocalCluster> {
  const folder = options.dataDir === undefined ? temporaryFolder() : undefined;
  const lab = new LocalCluster(
    options.dataDir ?? folder?.dir ?? "",
    await freeBasePort(5),
    options.flags ?? [],
    folder,
  );
  try {
    if (options.killWhenFound) await killWhenAdmitted(lab, options.killWhenFound);
    await lab.untilReady();
    return lab;
  } catch (error) {
    await lab[Symbol.asyncDispose]();
    throw error;
  }
}

async function killWhenAdmitted(lab: LocalCluster, name: string): Promise<void> {
  const admitted = new RegExp(`${name} +admitted`);
  await waitFor(
    () => admitted.test(lab.output),
    READY_MS,
    () => lab.output,
  );
  await lab.dvctl("lab", "kill", name);
}

/** Command lines of processes that mention a text, such as a data folder. */
export async function processesMentioning(text: string): Promise<string[]> {
  const { stdout } = await runCommand("ps", ["-eo", "pid,args", "-ww"], {});
  return stdout.split("\n").filter((line) => line.includes(text));
}
