// SPDX-License-Identifier: Apache-2.0
/** A supervised program of a test machine: what systemd does for a unit with `Restart=on-failure` and `RestartSec=1`. */
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const RESTART_MS = 1_000;
const STOP_MS = 10_000;

/** What a unit needs of its machine. */
export interface UnitHost {
  readonly isOn: boolean;
  readonly log: string[];
  spawnInside(argv: readonly string[]): ChildProcess;
}

export class MachineUnit {
  readonly name: string;
  /** Exit codes so far; null for an end by a signal. */
  readonly exits: (number | null)[] = [];
  /** Resolves when it has ended for good: with 0, by `stop`, or with the machine. */
  readonly ended: Promise<void>;
  readonly #machine: UnitHost;
  readonly #argv: readonly string[];
  #child: ChildProcess | undefined;
  /** Process id of the program, which is that of its group; whoever kills it at once must have seen it. */
  #group: number | undefined;
  #stopping = false;
  #end = (): void => undefined;
  #isOver = false;

  constructor(machine: UnitHost, name: string, argv: readonly string[]) {
    this.#machine = machine;
    this.name = name;
    this.#argv = argv;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  get hasEnded(): boolean {
    return this.#isOver;
  }

  /** Process id of the program as seen from outside; undefined between two runs. */
  get pid(): number | undefined {
    return this.#child === undefined ? undefined : onlyChildOf(this.#child.pid ?? 0);
  }

  start(): void {
    const child = this.#machine.spawnInside(this.#argv);
    this.#child = child;
    this.#group = undefined;
    const look = setInterval(() => this.#see(), 20);
    for (const stream of [child.stdout, child.stderr]) this.#collect(stream);
    child.once("exit", () => {
      clearInterval(look);
      if (this.#group !== undefined) killGroup(this.#group);
    });
    child.once("close", (code) => {
      this.#child = undefined;
      void this.#onExit(code);
    });
  }

  /** Sends a signal to the program, and to nothing that it started. */
  kill(signal: NodeJS.Signals = "SIGKILL"): void {
    this.#see();
    const { pid } = this;
    if (pid !== undefined) process.kill(pid, signal);
  }

  /** SIGTERM, after 10 s SIGKILL; not started again. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#child === undefined) return this.abandon();
    this.kill("SIGTERM");
    const timer = setTimeout(() => this.kill("SIGKILL"), STOP_MS);
    await this.ended;
    clearTimeout(timer);
  }

  /** Does nothing more; for a machine that loses its power. */
  abandon(): void {
    this.#stopping = true;
    this.#isOver = true;
    this.#end();
  }

  #see(): void {
    this.#group ??= this.pid;
  }

  async #onExit(code: number | null): Promise<void> {
    this.exits.push(code);
    this.#machine.log.push(`${this.name}: [ended with ${code ?? "a signal"}]`);
    if (code === 0 || this.#stopping || !this.#machine.isOn) return this.abandon();
    await sleep(RESTART_MS);
    if (!this.#stopping && this.#machine.isOn) this.start();
    else this.abandon();
  }

  #collect(stream: ChildProcess["stdout"]): void {
    let rest = "";
    stream?.setEncoding("utf8").on("data", (text: string) => {
      const lines = `${rest}${text}`.split("\n");
      rest = lines.pop() ?? "";
      this.#machine.log.push(...lines.map((line) => `${this.name}: ${line}`));
    });
    stream?.on("close", () => rest !== "" && this.#machine.log.push(`${this.name}: ${rest}`));
  }
}

/** Ends what a program left in its session, as systemd does with what is left in a unit's control group. */
function killGroup(group: number): void {
  try {
    process.kill(-group, "SIGKILL");
  } catch {
    // Nothing is left.
  }
}

/** The only child of a process, such as of `unshare --fork`; undefined when it has none (proc_pid_task_children(5)). */
export function onlyChildOf(pid: number): number | undefined {
  try {
    const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
    return child === undefined ? undefined : Number(child);
  } catch {
    return undefined;
  }
}
