// SPDX-License-Identifier: Apache-2.0
/** A process of the fleet: some thousand agents, connected a few at a time, and one timer for all their heartbeats. */
import { answerParent } from "../child.ts";
import { inParallel } from "../parallel.ts";
import { type AgentOptions, type AgentSpec, SimulatedAgent } from "./agent.ts";

const CONNECTING_AT_ONCE = 32;
const BEAT_TICK_MS = 50;

const agents: SimulatedAgent[] = [];
let beats: NodeJS.Timeout | undefined;

/** Sends the heartbeats evenly over the interval, so that they never come in a burst. */
function startBeats(everyMs: number): void {
  let due = 0;
  let at = 0;
  beats = setInterval(() => {
    due += (agents.length * BEAT_TICK_MS) / everyMs;
    for (; due >= 1; due--) agents[at++ % agents.length]?.beat();
  }, BEAT_TICK_MS);
}

answerParent({
  start: async ({
    specs,
    options,
    heartbeatMs,
  }: {
    specs: AgentSpec[];
    options: AgentOptions;
    heartbeatMs: number;
  }) => {
    agents.push(...specs.map((spec) => new SimulatedAgent(spec, options)));
    await inParallel(agents, CONNECTING_AT_ONCE, (agent) => agent.start());
    if (heartbeatMs > 0) {
      for (const agent of agents) agent.beat();
      startBeats(heartbeatMs);
    }
    return { rssBytes: process.memoryUsage.rss() };
  },
  stats: () => ({
    asked: agents.reduce((sum, agent) => sum + agent.asked, 0),
    rssBytes: process.memoryUsage.rss(),
  }),
  stop: async () => {
    clearInterval(beats);
    await Promise.all(agents.map((agent) => agent.stop()));
  },
});
