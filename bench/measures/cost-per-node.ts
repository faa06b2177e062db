// SPDX-License-Identifier: Apache-2.0
/** What one node costs in a fan-out through REST, as the fleet grows from 10 to 10,000 agents on the same bus. */
import { type BenchBus, startBenchBus } from "../environment/bus.ts";
import { connectionsRefused, mebibytes, residentBytes } from "../environment/limits.ts";
import { type Measure, type MeasureContext, round } from "../measure.ts";
import { type Fleet, startFleet } from "../simulator/fleet.ts";
import { type ScatterFigures, type ScatterSides, startScatterSides } from "./scatter-sides.ts";

const GOAL = 1.5;

interface Step extends ScatterFigures {
  readonly agents: number;
}

export const costPerNode: Measure = {
  name: "cost-per-node",
  summary: "time per node of a fan-out through REST, from 10 to 10,000 agents",
  async run(context) {
    const { quick, say, report } = context;
    const sizes = allowedSizes(quick ? [10, 50, 200] : [10, 1_000, 10_000], say);
    await using bus = await startBenchBus();
    await using sides = await startScatterSides(bus);
    await using fleets = new AsyncDisposableStack();
    const all: Fleet[] = [];
    const steps: Step[] = [];
    for (const size of sizes) {
      const have = all.reduce((sum, { ids }) => sum + ids.length, 0);
      const options = {
        agents: size - have,
        firstIndex: have,
        servers: bus.servers,
        issuer: bus.issuer,
        heartbeatMs: 60_000,
      };
      all.push(fleets.use(await startFleet(options)));
      steps.push(await step(context, bus, sides, all));
    }
    const costs = steps.map(({ agents, oursMs }) => oursMs / agents);
    const last = steps.at(-1);
    const ratio = (costs.at(-1) ?? 0) / Math.min(...costs);
    report({
      measure: "cost-per-node",
      bare: round(((last?.bareMs ?? 0) / (last?.agents ?? 1)) * 1_000),
      ours: round((costs.at(-1) ?? 0) * 1_000),
      ratio: round(ratio),
      goal: `cost at the largest size <= ${GOAL} x the least`,
      met: ratio <= GOAL,
      unit: "µs/node",
      n: last?.agents ?? 0,
      againstBare: round(last?.ratio ?? 0),
      microsecondsPerNode: Object.fromEntries(steps.map(({ agents }, i) => [agents, round((costs[i] ?? 0) * 1_000)])),
    });
  },
};

async function step(
  { quick, say, report }: MeasureContext,
  bus: BenchBus,
  sides: ScatterSides,
  fleets: readonly Fleet[],
): Promise<Step> {
  const ids = fleets.flatMap((fleet) => fleet.ids);
  const rounds = quick ? 3 : ids.length >= 10_000 ? 7 : 15;
  const figures = await sides.compare(ids, rounds);
  const times = fleets.at(-1)?.times;
  say(
    `${ids.length} agents: bare ${round(figures.bareMs)} ms, ours ${round(figures.oursMs)} ms; ${JSON.stringify(times)}`,
  );
  report({
    measure: `cost-per-node/${ids.length}`,
    bare: round(figures.bareMs),
    ours: round(figures.oursMs),
    ratio: round(figures.ratio),
    goal: "none of its own",
    met: true,
    unit: "ms",
    n: rounds,
    agents: ids.length,
    census: "exact",
    worstMs: round(figures.worstMs),
    replyBytes: figures.bytes,
    gatewayMiB: mebibytes(residentBytes(sides.gatewayPid)),
    natsMiB: mebibytes(residentBytes(bus.natsPid)),
    agentsMiB: mebibytes(fleets.reduce((sum, fleet) => sum + fleet.times.rssBytes, 0)),
    started: times,
  });
  return { ...figures, agents: ids.length };
}

function allowedSizes(sizes: readonly number[], say: (text: string) => void): number[] {
  return sizes.filter((size) => {
    const refused = connectionsRefused(size);
    if (refused) say(`${size} agents are left out: ${refused}`);
    return !refused;
  });
}
