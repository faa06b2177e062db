// SPDX-License-Identifier: Apache-2.0
/**
 * The demo of issue 3 through the real commands, in several lanes beside each other, while processes are killed at random.
 * A command that says success is believed only after a look at the world; what the others left is judged at the end, from
 * the final state of their operations (demo-oracle.ts).
 */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Chaos } from "./demo-chaos.ts";
import { FileLane } from "./demo-file-lane.ts";
import { HostLane } from "./demo-host-lane.ts";
import { LookLane } from "./demo-look-lane.ts";
import { judge } from "./demo-oracle.ts";
import { OwnerWatch } from "./demo-owners.ts";
import { labNodes, RestartWatch, rootsOf } from "./demo-world.ts";
import { Follower } from "./kill-run.ts";
import { type CommandResult, type LocalCluster, runCommand } from "./local-cluster.ts";
import { randomNumbers } from "./seeded.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
/** Longer than any command should take while processes are killed one after the other. */
const COMMAND_MS = 90_000;
const FAKE_BACKUPS = 29;

/** A change that was asked for; operations carry its tag as their reason. */
export interface Attempt {
  readonly tag: string;
  readonly kind: "file" | "restart" | "reboot" | "maintenance";
  /** Of a file: its path and the content that it shall have; null: none. */
  readonly file?: string;
  readonly wanted?: string | null;
  readonly nodes: readonly string[];
}

/** What the run saw. */
export interface DemoResult {
  /** Everything that must not be, in words. */
  readonly problems: readonly string[];
  /** Figures for a person. */
  readonly summary: string;
}

/** How long and how. */
export interface DemoOptions {
  readonly seed: number;
  readonly forMs: number;
  /** Time between two kills of servers; 0 loses the majority now and then. */
  readonly storeRestMs?: number;
}

/** What the lanes and the oracle share. */
export class Demo {
  readonly problems: string[] = [];
  readonly attempts: Attempt[] = [];
  readonly commands: (CommandResult & { readonly text: string })[] = [];
  readonly lab: LocalCluster;
  readonly names: readonly string[];
  readonly roots: ReadonlyMap<string, string>;
  readonly folder: string;
  readonly endsAt: number;
  readonly seed: number;

  constructor(lab: LocalCluster, roots: ReadonlyMap<string, string>, { seed, forMs }: DemoOptions) {
    this.lab = lab;
    this.roots = roots;
    this.names = [...roots.keys()];
    this.folder = path.join(lab.dataDir, "demo");
    this.seed = seed;
    this.endsAt = performance.now() + forMs;
    mkdirSync(this.folder, { recursive: true });
  }

  get over(): boolean {
    return performance.now() >= this.endsAt;
  }

  /** Notes what must not be. */
  wrong(what: string, about: Partial<CommandResult> & { readonly text?: string } = {}): void {
    const { text, code, stdout = "", stderr = "" } = about;
    const said =
      text === undefined ? "" : `\n  ${text} (exit ${code})\n  ${stdout.slice(0, 400)}\n  ${stderr.slice(-800)}`;
    this.problems.push(`${new Date().toISOString()} ${what}${said}`);
  }

  /** Makes the tag of a new attempt. */
  attempt(attempt: Omit<Attempt, "tag">): string {
    const tag = `demo-${this.attempts.length + 1}`;
    this.attempts.push({ ...attempt, tag });
    return tag;
  }

  /** Runs a command to its end; its exit code has to be one of these. */
  async run(codes: readonly number[], args: readonly string[], program = "dvctl") {
    const file = path.join(ROOT, "apps/cli/bin", `${program}.cjs`);
    const env = { DV_CONTEXT: this.lab.contextFile, NO_COLOR: "1" };
    const result = await runCommand("node", [file, ...args], env, COMMAND_MS);
    const command = { ...result, text: [program, ...args].join(" ") };
    this.commands.push(command);
    if (result.code === null) this.wrong(`did not end within ${COMMAND_MS} ms`, command);
    else if (!codes.includes(result.code)) this.wrong("ended with an exit code that it must not have here", command);
    return command;
  }

  /** Asks whichever gateway answers, until one does. */
  async ask<T>(route: string, patienceMs = 60_000): Promise<T> {
    const deadline = performance.now() + patienceMs;
    for (let tries = 0; ; tries++) {
      const reply = await this.lab.fetch(route, {}, 1 + (tries % this.names.length)).catch(() => undefined);
      if (reply?.status === 200) return (await reply.json()) as T;
      const text = await reply?.text().catch(() => "");
      if (performance.now() > deadline) throw new Error(`${route}: no answer, last ${reply?.status} ${text}`);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}

/** Runs the demo until its time is over, then the kills end and everything is judged. */
export async function runDemo(lab: LocalCluster, options: DemoOptions): Promise<DemoResult> {
  const nodes = await labNodes(lab);
  const demo = new Demo(lab, rootsOf(lab, nodes), options);
  manyBackups(demo);
  const watch = new RestartWatch(lab, nodes);
  const owners = new OwnerWatch(demo);
  const follower = new Follower(lab);
  const chaos = new Chaos(lab, watch, randomNumbers(options.seed), options.storeRestMs);
  try {
    const lanes = [
      new FileLane(demo, "one", randomNumbers(options.seed + 1)),
      new FileLane(demo, "two", randomNumbers(options.seed + 2)),
      new HostLane({ demo, watch, chaos }, randomNumbers(options.seed + 3)),
      new LookLane(demo, randomNumbers(options.seed + 4)),
    ];
    const work = Promise.all(lanes.map((lane) => lane.run()));
    work.catch(() => undefined);
    while (!demo.over) await new Promise((resolve) => setTimeout(resolve, 100));
    // The commands under way end without further kills.
    await chaos.stop();
    await work;
    const summary = await judge({ demo, chaos, owners, follower, watch });
    return { problems: demo.problems, summary };
  } finally {
    await chaos.stop();
    await Promise.all([watch.stop(), owners.stop(), follower.stop()]);
  }
}

/** So that a run of seconds reaches the number of backups that are kept. */
function manyBackups({ roots }: Demo): void {
  for (const root of roots.values()) {
    for (let i = 0; i < FAKE_BACKUPS; i++) {
      const time = `20200101T0000${String(i).padStart(2, "0")}Z`;
      writeFileSync(path.join(root, `etc/one-1.dv-backup-${time}-aaaaaaaaaaaaa`), "old");
    }
  }
}
