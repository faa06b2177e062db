// SPDX-License-Identifier: Apache-2.0
/**
 * Memory of an idle server of a cluster of three, by the programs of the units: the proportional share (PSS), in which pages that
 * processes share count once (proc_pid_smaps(5)), and the resident size, in which each counts them whole.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { startFormation } from "../../test/support/formation.ts";
import { lanLacks } from "../../test/support/lan-namespaces.ts";
import type { Machine } from "../../test/support/node-machine.ts";
import { megabytes } from "../environment/limits.ts";
import { type Measure, round } from "../measure.ts";
import { stopOnSignal } from "../stop-on-signal.ts";

const IDLE_MS = 120_000;
const QUICK_MS = 5_000;
const PATIENCE_MS = 120_000;
/** What the design has for a node's services when they share one process; here each has its own. */
const GOAL_MB = 120;

export const idleMemory: Measure = {
  name: "idle-memory",
  summary: "memory of an idle server of a cluster of three, two minutes after it was formed, by process",
  async run({ quick, say, report }) {
    const lacking = lanLacks();
    if (lacking.length > 0) throw new Error(`lacking here: ${lacking.join(", ")}`);
    await using formation = await startFormation({ hosts: 3 });
    const forget = stopOnSignal(() => formation[Symbol.asyncDispose]());
    const machines = await formation.addAll(0, 1, 2);
    await formation.untilWritable(machines, PATIENCE_MS);
    await sleep(quick ? QUICK_MS : IDLE_MS);
    const members = machines.map((machine) => processesOf(machine));
    for (const [i, processes] of members.entries())
      for (const { name, pss, rss } of processes)
        say(`${machines[i]?.name} ${name}: ${megabytes(pss)} MB proportional, ${megabytes(rss)} MB resident`);
    const sums = members.map((processes) => processes.reduce((sum, { pss }) => sum + pss, 0));
    const most = megabytes(Math.max(...sums));
    report({
      measure: "idle-memory",
      bare: null,
      ours: most,
      ratio: round(most / GOAL_MB),
      goal: `<= ${GOAL_MB} MB for all programs of an idle server`,
      met: most <= GOAL_MB,
      unit: "MB",
      n: machines.length,
      resident: members.map((processes) => megabytes(processes.reduce((sum, { rss }) => sum + rss, 0))),
    });
    forget();
  },
};

interface Process {
  readonly name: string;
  readonly pss: number;
  readonly rss: number;
}

/** Our programs in the machine's namespace of processes: its units and the nats-server that one of them starts. */
function processesOf(machine: Machine): Process[] {
  const units = new Map(machine.units().map((name) => [machine.unit(name).pid, name]));
  const inside = namespaceOf([...units.keys()].find((pid) => pid !== undefined));
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry) && namespaceOf(Number(entry)) === inside)
    .flatMap((entry) => {
      const program = readFileSync(`/proc/${entry}/comm`, "utf8").trim();
      const name = units.get(Number(entry)) ?? (program === "nats-server" ? program : undefined);
      return name === undefined ? [] : [{ name, ...memoryOf(Number(entry)) }];
    });
}

function namespaceOf(pid: number | undefined): string | undefined {
  try {
    return pid === undefined ? undefined : readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined;
  }
}

function memoryOf(pid: number): { pss: number; rss: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const bytes = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0) * 1024;
  return { pss: bytes("Pss"), rss: bytes("Rss") };
}
