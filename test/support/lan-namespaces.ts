// SPDX-License-Identifier: Apache-2.0
/**
 * Network namespaces of tests: names that tell whose they are, removal of what a killed test process left, and running of `ip`.
 * A name is `dvl-<pid>-<start time of that process>-<n>-<role>`, so that a reused process id is not taken for the owner.
 */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { isInstalled } from "../../tools/test-requirements.ts";
import type { CommandResult } from "./local-cluster.ts";

const PREFIX = "dvl-";
const NAME = /^dvl-(\d+)-(\d+)-/;
const NAMESPACES = "/run/netns";
const IP_TIMEOUT_MS = 20_000;

let count = 0;

/** A prefix for the names of one LAN's namespaces, unique on this machine. */
export function uniquePrefix(): string {
  count += 1;
  return `${PREFIX}${process.pid}-${startTimeOf(process.pid) ?? 0}-${count}`;
}

/** What this machine lacks for a LAN of namespaces; empty when it can have one. */
export function lanLacks(): string[] {
  const missing = ["ip", "setpriv", "unshare", "nsenter", "bash"].filter((program) => !isInstalled(program));
  if (process.getuid?.() !== 0) missing.unshift("root");
  return missing;
}

/** Runs a program to its end; never throws for its exit code. */
export function run(argv: readonly string[], input = "", timeoutMs = IP_TIMEOUT_MS): Promise<CommandResult> {
  const startedAt = performance.now();
  const [program = "", ...args] = argv;
  const child = spawn(program, args, { env: { ...process.env, LC_ALL: "C.UTF-8" }, stdio: ["pipe", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  // A program that ends without reading is no failure of the pipe.
  child.stdin.on("error", () => undefined).end(input);
  const timer = setTimeout(() => {
    child.kill("SIGKILL");
    // What it started may live on and hold the pipes.
    for (const stream of [child.stdout, child.stderr]) stream.destroy();
  }, timeoutMs);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr, ms: performance.now() - startedAt });
    });
  });
}

/** Runs `ip` commands, one a line, in a namespace (or outside of all). @throws Error with what `ip` said */
export async function ip(namespace: string | undefined, commands: readonly string[]): Promise<void> {
  const argv = ["ip", ...(namespace === undefined ? [] : ["-n", namespace]), "-batch", "-"];
  const { code, stderr } = await run(argv, `${commands.join("\n")}\n`);
  if (code !== 0) throw new Error(`${argv.join(" ")}: ${stderr.trim()}\n${commands.join("\n")}`);
}

/** Ends whatever runs in the namespaces and removes them; those that are gone already are no failure. */
export async function removeNamespaces(names: readonly string[]): Promise<void> {
  await Promise.all(
    names.map(async (name) => {
      for (const pid of await processesIn(name)) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // It ended by itself.
        }
      }
      await run(["ip", "netns", "del", name]);
    }),
  );
}

/** Removes the namespaces of test processes that are no more. */
export async function removeStale(): Promise<void> {
  await removeNamespaces(namespaces().filter((name) => !ownerLives(name)));
}

/** The namespaces of all tests of this machine. */
export function namespaces(): string[] {
  try {
    return readdirSync(NAMESPACES).filter((name) => NAME.test(name));
  } catch {
    return [];
  }
}

async function processesIn(name: string): Promise<number[]> {
  const { stdout } = await run(["ip", "netns", "pids", name]);
  return stdout.split("\n").filter(Boolean).map(Number);
}

function ownerLives(name: string): boolean {
  const [, pid, startTime] = NAME.exec(name) ?? [];
  return startTime !== undefined && startTimeOf(Number(pid)) === startTime;
}

/** Start time of a process in clock ticks since boot; undefined when there is none (proc_pid_stat(5), field 22). */
function startTimeOf(pid: number): string | undefined {
  try {
    // The command may hold spaces and brackets; the fields after it do not.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}
