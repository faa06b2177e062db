// SPDX-License-Identifier: Apache-2.0
/** The launcher's hold on one node: a process group of its own, its log, its messages, its orderly and its hard end. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { readEnv } from "@debvisor/shared/config";
import type { LabNode } from "./lab-files.ts";
import { followLog } from "./log-view.ts";
import { NodeMessage } from "./messages.ts";

/** Longest time for an orderly end; the whole cluster has to be gone within 5 s of Ctrl-C. */
const STOP_LIMIT_MS = 4_300;

/** A young generation of 16 MiB per process is meant for servers that are alone on a machine; here there are many. */
const MEMORY_FLAGS = ["--max-semi-space-size=2"];
/** One malloc arena instead of one per thread; measured 6 MB less of a node process. */
const MEMORY_ENVIRONMENT = { MALLOC_ARENA_MAX: "1" };

export interface NodeProcessOptions {
  readonly node: LabNode;
  readonly dir: string;
  readonly logFile: string;
  readonly natsBinary: string;
  readonly processes: boolean;
  readonly logLevel: string;
  readonly show: (line: string) => void;
  readonly onMessage: (message: NodeMessage) => void;
  /** It ended without being stopped; `rebooting` when it had said so before. */
  readonly onExit: (how: string, rebooting: boolean) => void;
}

/** A node's process, started with the object. */
export class NodeProcess {
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #running = true;
  #stopping = false;
  /** Ends a node that restarts itself and does not come to an end. */
  #rebootLimit: NodeJS.Timeout | undefined;
  #state: { natsPid: number | null; services: { name: string; pid: number | null }[] } = {
    natsPid: null,
    services: [],
  };

  constructor(options: NodeProcessOptions) {
    const script = fileURLToPath(new URL("./node.ts", import.meta.url));
    const flags = ["--dir", options.dir, "--nats", options.natsBinary];
    // Detached: a group of its own, which a Ctrl-C in the terminal does not reach and which can be killed as a whole.
    this.#child = spawn(
      process.execPath,
      [...MEMORY_FLAGS, script, ...flags, ...(options.processes ? ["--processes"] : [])],
      {
        stdio: ["ignore", "pipe", "pipe", "ipc"],
        detached: true,
        env: { ...readEnv(), ...MEMORY_ENVIRONMENT },
      },
    );
    const { stdout, stderr } = this.#child;
    for (const output of [stdout, stderr]) {
      if (output)
        followLog({
          output,
          file: options.logFile,
          node: options.node.name,
          level: options.logLevel,
          show: options.show,
        });
    }
    this.#child.on("message", (raw) => this.#receive(raw, options.onMessage));
    this.#child.on("error", () => undefined);
    this.#exited = new Promise((resolve) => {
      this.#child.once("exit", (code, signal) => {
        this.#running = false;
        clearTimeout(this.#rebootLimit);
        // Whatever the node's process left behind in its group goes with it.
        this.#signalGroup("SIGKILL");
        if (!this.#stopping) options.onExit(signal ?? `exit code ${code}`, this.#rebootLimit !== undefined);
        resolve();
      });
    });
  }

  get running(): boolean {
    return this.#running;
  }

  get pid(): number | null {
    return this.#running ? (this.#child.pid ?? null) : null;
  }

  get natsPid(): number | null {
    return this.#running ? this.#state.natsPid : null;
  }

  get services(): readonly { name: string; pid: number | null }[] {
    return this.#running ? this.#state.services : [];
  }

  /** Orderly end; hard after the limit. */
  async stop(): Promise<void> {
    if (!this.#running) return;
    this.#stopping = true;
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#signalGroup("SIGKILL"), STOP_LIMIT_MS);
    await this.#exited;
    clearTimeout(timer);
  }

  /** Ends the whole group as a power cut would. */
  async kill(): Promise<void> {
    if (!this.#running) return;
    this.#signalGroup("SIGKILL");
    await this.#exited;
  }

  #receive(raw: unknown, onMessage: (message: NodeMessage) => void): void {
    const parsed = NodeMessage.safeParse(raw);
    if (!parsed.success) return;
    if (parsed.data.type === "state") this.#state = { natsPid: parsed.data.natsPid, services: parsed.data.services };
    if (parsed.data.type === "reboot")
      this.#rebootLimit ??= setTimeout(() => this.#signalGroup("SIGKILL"), STOP_LIMIT_MS);
    onMessage(parsed.data);
  }

  #signalGroup(signal: NodeJS.Signals): void {
    if (this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, signal);
    } catch {
      // The group is empty.
    }
  }
}
