// SPDX-License-Identifier: Apache-2.0
/** The operation engine: how soon the first step begins, also beside 1,000 that wait; cancel, adoption, and what the audit trail costs. */
import { randomBytes } from "node:crypto";
import { systemClock } from "@debvisor/shared/clock";
import { createIdentity } from "@debvisor/shared/node-files";
import { type BenchBus, startBenchBus } from "../environment/bus.ts";
import { type BenchEngine, startBenchEngine } from "../environment/engine.ts";
import { type Measure, type MeasureContext, median, round } from "../measure.ts";

const SUBMIT_GOAL_MS = 50;
const CANCEL_GOAL_MS = 5_000;
const ADOPT_GOAL_MS = 15_000;

export const operations: Measure = {
  name: "operations",
  summary: "submit to first step, alone and beside 1,000 waiting operations; cancel; adoption; cost of the audit trail",
  async run(context) {
    await using bus = await startBenchBus();
    const first = await startBenchEngine(bus, createIdentity().id);
    await submitToFirstStep(context, first);
    await cancelling(context, first);
    await auditCost(context, first);
    await adoption(context, bus, first);
  },
};

async function submitToFirstStep({ quick, say, report }: MeasureContext, one: BenchEngine): Promise<void> {
  const rounds = quick ? 30 : 300;
  const waiting = quick ? 50 : 1_000;
  await latencies(one, "warm", 20);
  const alone = await latencies(one, "alone", rounds);
  const holder = await one.submit({ resource: "bench/held", hold: true });
  const from = performance.now();
  for (let i = 0; i < waiting; i++) await one.submit({ resource: "bench/held", wait: "1h" });
  say(
    `${waiting} operations wait after ${round((performance.now() - from) / 1_000)} s; the lock is held by ${holder.id}`,
  );
  const beside = await latencies(one, "beside", rounds);
  report({
    measure: "operations/submit-to-first-step",
    bare: round(percentile(alone, 99)),
    ours: round(percentile(beside, 99)),
    ratio: round(percentile(beside, 99) / percentile(alone, 99)),
    goal: `p99 <= ${SUBMIT_GOAL_MS} ms while ${waiting} wait for a lock`,
    met: percentile(beside, 99) <= SUBMIT_GOAL_MS,
    unit: "ms",
    n: rounds,
    waiting,
    p50: round(median(beside)),
    p50Alone: round(median(alone)),
    replicas: 1,
  });
}

async function latencies(one: BenchEngine, name: string, rounds: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const from = performance.now();
    const { id } = await one.submit({ resource: `bench/${name}-${i}` });
    while (!one.begun.has(id ?? "")) await systemClock.sleep(1);
    times.push((one.begun.get(id ?? "") ?? 0) - from);
    await one.engine.wait(id ?? "", { ms: 10_000, signal: new AbortController().signal });
  }
  return times;
}

function percentile(times: readonly number[], percent: number): number {
  const sorted = [...times].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil((percent / 100) * sorted.length) - 1)] ?? 0;
}

async function cancelling({ quick, report }: MeasureContext, one: BenchEngine): Promise<void> {
  const rounds = quick ? 3 : 20;
  const answered: number[] = [];
  const ended: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const { id } = await one.submit({ resource: `bench/cancel-${i}`, hold: true });
    while (!one.begun.has(id ?? "")) await systemClock.sleep(1);
    const from = performance.now();
    await one.engine.control(id ?? "", "cancel", { by: "bench", user: null, reason: null });
    answered.push(performance.now() - from);
    await one.engine.wait(id ?? "", { ms: 20_000, signal: new AbortController().signal });
    ended.push(performance.now() - from);
  }
  report({
    measure: "operations/cancel",
    bare: null,
    ours: round(Math.max(...answered)),
    ratio: null,
    goal: `answered in <= ${CANCEL_GOAL_MS} ms`,
    met: Math.max(...answered) <= CANCEL_GOAL_MS,
    unit: "ms",
    n: rounds,
    endedAfterMs: round(Math.max(...ended)),
  });
}

async function auditCost({ quick, report }: MeasureContext, one: BenchEngine): Promise<void> {
  const rounds = quick ? 20 : 200;
  const bare: number[] = [];
  const ours: number[] = [];
  const journal = one.bus.journal("DV_OPS");
  const text = JSON.stringify({ filler: "x".repeat(600) });
  for (let i = 0; i < rounds; i++) {
    const id = randomBytes(16).toString("hex");
    const from = performance.now();
    await journal.append(`bench-${id.slice(0, 8)}`, text, { expected: 0, id });
    const between = performance.now();
    await one.audit.record(body(i));
    bare.push(between - from);
    ours.push(performance.now() - between);
  }
  const { id } = await one.submit({ resource: "bench/share" });
  await one.engine.wait(id ?? "", { ms: 10_000, signal: new AbortController().signal });
  report({
    measure: "operations/audit-append",
    bare: round(median(bare)),
    ours: round(median(ours)),
    ratio: round(median(ours) / median(bare)),
    goal: "printed; two appends an operation",
    met: true,
    unit: "ms",
    n: rounds,
    p99: round(percentile(ours, 99)),
  });
}

function body(n: number) {
  return {
    kind: "refusal" as const,
    ref: `bench-${n}`,
    actor: "bench",
    user: null,
    source: "127.0.0.1",
    action: "bench.touch",
    mode: "apply" as const,
    targets: ["node-1"],
    args: { resource: "bench/one" },
    reason: "to see what it costs",
    override: null,
    planDigest: null,
    operation: null,
    requestId: null,
    traceId: null,
    result: { status: "refused" as const, code: null, exitCode: 5, message: null },
  };
}

async function adoption({ quick, report }: MeasureContext, bus: BenchBus, first: BenchEngine): Promise<void> {
  const second = await startBenchEngine(bus, createIdentity().id);
  const orphans = quick ? 3 : 20;
  const ids: string[] = [];
  for (let i = 0; i < orphans; i++) {
    const { id } = await first.submit({ resource: `bench/orphan-${i}`, hold: true });
    while (!first.begun.has(id ?? "")) await systemClock.sleep(1);
    ids.push(id ?? "");
  }
  second.release();
  const from = performance.now();
  await first.die();
  const times: number[] = [];
  for (const id of ids) {
    const operation = await second.engine.wait(id, { ms: 30_000, signal: new AbortController().signal });
    if (operation.state !== "succeeded") throw new Error(`${id} is ${operation.state} after its owner died`);
    times.push(performance.now() - from);
  }
  report({
    measure: "operations/adoption",
    bare: null,
    ours: round(Math.max(...times) / 1_000),
    ratio: null,
    goal: `adopted and finished in <= ${ADOPT_GOAL_MS / 1_000} s`,
    met: Math.max(...times) <= ADOPT_GOAL_MS,
    unit: "s",
    n: orphans,
  });
  await second.stop();
}
