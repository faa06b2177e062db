// SPDX-License-Identifier: Apache-2.0
/**
 * The local cluster as a user starts it: time from `npm start` to "ready" with an empty data folder, and the memory of its idle node
 * processes. The first start also has an empty compile cache, as right after `npm install`.
 */
import { randomInt } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@debvisor/shared/clock";
import { isFree } from "../../apps/lab/src/ports.ts";
import { type RunningLab, startLab } from "../environment/lab.ts";
import { megabytes, residentBytes } from "../environment/limits.ts";
import { type Measure, type MeasureContext, median, round } from "../measure.ts";
import { stopOnSignal } from "../stop-on-signal.ts";

const READY_GOAL_S = 6;
const MEMORY_GOAL_MB = 120;

export const localCluster: Measure = {
  name: "local-cluster",
  summary: "cold npm start to ready with 3 nodes, and the memory of an idle node process",
  async run(context) {
    const { quick, say, report } = context;
    const nodes = quick ? 1 : 3;
    const starts = quick ? 1 : 3;
    const cacheDir = mkdtempSync(join(tmpdir(), "dv-bench-cache-"));
    const remove = () => rmSync(cacheDir, { recursive: true, force: true });
    const forget = stopOnSignal(() => Promise.resolve(remove()));
    const times: number[] = [];
    const timelines: (readonly string[])[] = [];
    try {
      for (let i = 0; i < starts; i++) {
        await using lab = await start(nodes, cacheDir);
        times.push(lab.readyMs / 1_000);
        timelines.push(lab.timeline);
        for (const line of lab.timeline) say(line);
        if (i === starts - 1) await memory(context, lab);
      }
    } finally {
      forget();
      remove();
    }
    const [first = 0, ...later] = times;
    report({
      measure: "local-cluster/cold-start",
      bare: null,
      ours: round(first),
      ratio: round(first / READY_GOAL_S),
      goal: `<= ${READY_GOAL_S} s`,
      met: first <= READY_GOAL_S,
      unit: "s",
      n: 1,
      nodes,
      withCompileCache: later.length > 0 ? round(median(later)) : null,
      timeline: timelines[0],
    });
  },
};

async function start(nodes: number, cacheDir: string): Promise<RunningLab> {
  return startLab({ nodes, port: await freeRange(nodes), cacheDir });
}

/** First of some consecutive free ports, which the gateways want; below the range that the system hands out itself. */
async function freeRange(count: number): Promise<number> {
  for (let port = 12_000 + randomInt(10_000); ; port += count) {
    const free = await Promise.all(Array.from({ length: count }, (_, i) => isFree(port + i)));
    if (free.every(Boolean)) return port;
  }
}

async function memory({ quick, say, report }: MeasureContext, lab: RunningLab): Promise<void> {
  await systemClock.sleep(quick ? 2_000 : 20_000);
  const { nodes } = await lab.status();
  const perNode = nodes.map(({ name, pid, natsPid }) => ({
    name,
    nodeMB: megabytes(residentBytes(pid ?? undefined)),
    natsMB: megabytes(residentBytes(natsPid ?? undefined)),
  }));
  const most = Math.max(...perNode.map(({ nodeMB }) => nodeMB));
  say(perNode.map(({ name, nodeMB, natsMB }) => `${name}: ${nodeMB} MB, nats-server ${natsMB} MB`).join("; "));
  report({
    measure: "local-cluster/idle-memory",
    bare: null,
    ours: most,
    ratio: round(most / MEMORY_GOAL_MB),
    goal: `<= ${MEMORY_GOAL_MB} MB resident in the largest node process`,
    met: most <= MEMORY_GOAL_MB,
    unit: "MB",
    n: perNode.length,
    launcherMB: megabytes(residentBytes(lab.pid)),
    perNode,
  });
}
