// SPDX-License-Identifier: Apache-2.0
/** A read of 1,000 simulated agents through REST with its full census, against a scatter on raw NATS. */
import { startBenchBus } from "../environment/bus.ts";
import { mebibytes, residentBytes } from "../environment/limits.ts";
import { type Measure, round } from "../measure.ts";
import { startFleet } from "../simulator/fleet.ts";
import { startScatterSides } from "./scatter-sides.ts";

const GOAL = 1.5;

export const fanOut: Measure = {
  name: "fan-out",
  summary: "1,000 agents asked through REST with an exact census, against one raw scatter",
  async run({ quick, say, report }) {
    const agents = quick ? 100 : 1_000;
    await using bus = await startBenchBus();
    await using fleet = await startFleet({ agents, servers: bus.servers, issuer: bus.issuer });
    say(`${agents} agents: ${JSON.stringify(fleet.times)}`);
    await using sides = await startScatterSides(bus);
    const rounds = quick ? 3 : 21;
    const figures = await sides.compare(fleet.ids, rounds);
    report({
      measure: "fan-out",
      bare: round(figures.bareMs),
      ours: round(figures.oursMs),
      ratio: round(figures.ratio),
      goal: `<= ${GOAL}`,
      met: figures.ratio <= GOAL,
      unit: "ms",
      n: rounds,
      agents,
      census: "exact",
      worstMs: round(figures.worstMs),
      replyBytes: figures.bytes,
      gatewayMiB: mebibytes(residentBytes(sides.gatewayPid)),
    });
  },
};
