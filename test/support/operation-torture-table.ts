// SPDX-License-Identifier: Apache-2.0
/** The table of a torture: operation × fault, and how many runs ended as before, as after, each target as said, or wrong. */
import type { RunResult } from "./operation-torture.ts";

const HEAD = ["operation", "fault", "runs", "before", "after", "each as said", "stuck, then continued", "wrong"];

/** Lines of the table. */
export function tableOf(results: ReadonlyMap<string, readonly RunResult[]>): string {
  const rows = [...results].flatMap(([name, runs]) =>
    [...Map.groupBy(runs, ({ fault }) => fault.group)].map(([group, all]) => rowOf(name, group, all)),
  );
  const widths = HEAD.map((heading, i) => Math.max(heading.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    cells.map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  ");
  return [HEAD, ...rows].map(line).join("\n");
}

function rowOf(name: string, group: string, runs: readonly RunResult[]): string[] {
  const good = runs.filter(({ wrong }) => wrong.length === 0);
  const ended = (finding: string) => String(good.filter((run) => run.finding === finding && !run.fault.sticks).length);
  const stuck = good.filter(({ fault }) => fault.sticks).length;
  const counts = [ended("before"), ended("after"), ended("mixed"), String(stuck), String(runs.length - good.length)];
  return [name, group, String(runs.length), ...counts];
}

/** What went wrong, with the fault that replays it. */
export function wrongOf(name: string, runs: readonly RunResult[]): string[] {
  return runs
    .filter(({ wrong }) => wrong.length > 0)
    .map(({ fault, state, wrong }) => `DV_TORTURE="${name}/${fault.name}" (${state}): ${wrong.join("\n")}`);
}
