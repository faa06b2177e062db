// SPDX-License-Identifier: Apache-2.0
/** What somebody types at a machine to rescue a cluster, and how a rescue is killed on its way. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { nodePaths, readNode } from "@debvisor/shared/node-files";
import { ROOT } from "../../tools/paths.ts";
import type { Formation } from "./formation.ts";
import type { CommandResult } from "./local-cluster.ts";
import { onlyChildOf } from "./machine-unit.ts";
import type { Machine } from "./node-machine.ts";
import { waitFor } from "./wait-for.ts";

const BIN = path.join(ROOT, "node_modules/.bin/debvisor-node");
const REASON = "fire in room 2";
const COMMAND_MS = 120_000;

/** Types a command of ours at a machine. */
export function type(machine: Machine, program: string, ...args: string[]): Promise<CommandResult> {
  return machine.exec([BIN, path.join(ROOT, `apps/cli/bin/${program}.cjs`), ...args], { timeoutMs: COMMAND_MS });
}

export function dvctl(machine: Machine, ...args: string[]): Promise<CommandResult> {
  return type(machine, "dvctl", ...args);
}

/** Gives the commands of a machine the administrator's key. */
export function writeContext(formation: Formation, machine: Machine): void {
  const context = { version: 1, cluster: "lab", servers: ["http://127.0.0.1:8420"], token: formation.key.text };
  writeFileSync(path.join(machine.etcDir, "context.json"), JSON.stringify(context), { mode: 0o600 });
}

/** Types `dvctl cluster rescue` at a machine. */
export function rescue(machine: Machine, off: readonly string[], ...more: string[]): Promise<CommandResult> {
  return dvctl(machine, ...rescueArgs(machine, off), ...more);
}

/** The same with --confirm, killed as soon as it says that it begins a step. Resolves when it has ended. */
export async function killedRescue(machine: Machine, off: readonly string[], step: string): Promise<void> {
  const argv = [BIN, path.join(ROOT, "apps/cli/bin/dvctl.cjs"), ...rescueArgs(machine, off), "--confirm"];
  const child = machine.spawnInside(argv);
  const closed = new Promise((resolve) => child.once("close", resolve));
  let said = "";
  let killed = false;
  child.stderr?.on("data", (text) => {
    said += String(text);
    if (killed || !said.includes(`step: ${step}`)) return;
    killed = true;
    const pid = onlyChildOf(child.pid ?? 0);
    if (pid !== undefined) process.kill(pid, "SIGKILL");
  });
  child.stdout?.resume();
  await closed;
  if (!killed) throw new Error(`the rescue did not come to step ${step}: ${said}`);
}

/** Stops the units of a machine and leaves it on, as `systemctl stop debvisor.target` does. */
export async function stopTarget(machine: Machine): Promise<void> {
  const [first, ...others] = machine.units();
  await Promise.all(others.map((name) => machine.unit(name).stop()));
  if (first !== undefined) await machine.unit(first).stop();
}

/** Powers a machine off as far as others can see: what is left of its namespace refuses connections, as a machine that is on. */
export async function loseMachine(formation: Formation, machine: Machine): Promise<void> {
  await machine.powerOff();
  await formation.lan.link(machine.host, "down");
}

/** Waits until every server has a copy of every stream: one of them says so once, in its log. */
export async function untilReplicated(formation: Formation, patienceMs = 60_000): Promise<void> {
  await waitFor(
    () => formation.machines.some(({ log }) => log.some((line) => line.includes("streams raised to three replicas"))),
    patienceMs,
    () => `the streams were not raised; ${formation.logs()}`,
  );
}

/** Id of the node that a machine is. */
export function idOf(machine: Machine): string {
  return readNode(machine.nodeDir).id;
}

/** Whether a rescue was begun on a machine and has not ended. */
export function journalOf(machine: Machine): string {
  return nodePaths(machine.nodeDir).rescue;
}

function rescueArgs(machine: Machine, off: readonly string[]): string[] {
  const named = off.flatMap((name) => ["--off", name]);
  return ["cluster", "rescue", ...named, "--reason", REASON, "--node-dir", machine.nodeDir];
}
