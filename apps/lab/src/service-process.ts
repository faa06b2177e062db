// SPDX-License-Identifier: Apache-2.0
/** A service of a node in a process of its own, as its systemd unit starts it. Started again when it ends. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import type { SupervisedUnit } from "@debvisor/shared/drivers/lab-supervisor";
import type { Logger } from "@debvisor/shared/log";
import { ServiceMessage } from "./messages.ts";

const STOP_LIMIT_MS = 3_500;
const RESTART_MIN_MS = 200;
const RESTART_MAX_MS = 5_000;

/** One service; nothing runs before `start`. */
export class ServiceProcess {
  readonly name: string;
  readonly #dir: string;
  readonly #log: Logger;
  #child: ChildProcess | undefined;
  #unit: Pick<SupervisedUnit, "state" | "invocation" | "startedAt"> = {
    state: "stopped",
    invocation: null,
    startedAt: null,
  };
  #onChange: () => void = () => undefined;
  #stopping = false;
  /** Somebody asked for the restart, so it waits for nothing. */
  #restarting = false;
  #wait = RESTART_MIN_MS;
  #retry: NodeJS.Timeout | undefined;

  constructor(name: string, dir: string, log: Logger) {
    this.name = name;
    this.#dir = dir;
    this.#log = log;
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  get unit(): SupervisedUnit {
    return { name: this.name, ...this.#unit };
  }

  /** Starts it; `onChange` whenever its process changes. */
  start(onChange: () => void): void {
    this.#onChange = onChange;
    const main = fileURLToPath(new URL(`../../../services/${this.name}/main.ts`, import.meta.url));
    const child = spawn(process.execPath, [...process.execArgv, main, "--node-dir", this.#dir], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    const startedAt = performance.now();
    this.#child = child;
    this.#restarting = false;
    this.#unit = { state: "starting", invocation: randomUUID(), startedAt: new Date().toISOString() };
    onChange();
    child.on("message", (message) => {
      if (this.#child === child && ServiceMessage.safeParse(message).success) this.#unit.state = "running";
    });
    child.on("error", () => undefined);
    child.once("exit", (code, signal) => {
      if (this.#child === child) this.#child = undefined;
      this.#unit = { state: code === 0 ? "stopped" : "failed", invocation: null, startedAt: null };
      if (this.#stopping) return;
      if (this.#restarting || performance.now() - startedAt > 30_000) this.#wait = RESTART_MIN_MS;
      if (this.#restarting) return this.start(onChange);
      this.#log.error({ service: this.name, code, signal, wait: this.#wait }, "the service ended; it is started again");
      onChange();
      this.#retry = setTimeout(() => !this.#stopping && this.start(onChange), this.#wait);
      this.#wait = Math.min(this.#wait * 2, RESTART_MAX_MS);
    });
  }

  /** Ends it in order, or hard after a limit, and starts it at once. Returns before that. */
  restart(): void {
    if (this.#stopping || this.#restarting) return;
    clearTimeout(this.#retry);
    const child = this.#child;
    this.#restarting = child !== undefined;
    if (child) void end(child);
    else this.start(this.#onChange);
  }

  /** Ends it for good. */
  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#retry);
    if (this.#child) await end(this.#child);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_LIMIT_MS);
  await exited;
  clearTimeout(timer);
}
