// SPDX-License-Identifier: Apache-2.0
/**
 * Growth in network namespaces: one server becomes three, whose streams are then raised to three replicas, and three become five, while
 * a member writes an event every ten milliseconds. What counts is the longest time in which none was acknowledged.
 */
import { type Formation, startFormation } from "../../test/support/formation.ts";
import { lanLacks } from "../../test/support/lan-namespaces.ts";
import { startLanWriter, type Written } from "../../test/support/lan-writer.ts";
import type { Machine } from "../../test/support/node-machine.ts";
import { waitFor } from "../../test/support/wait-for.ts";
import { type Measure, type MeasureContext, round } from "../measure.ts";
import { stopOnSignal } from "../stop-on-signal.ts";

const GAP_GOAL_S = 10;
const PATIENCE_MS = 120_000;
/** What discovery logs when the streams have three replicas. */
const RAISED = "streams raised to three replicas";

export const growth: Measure = {
  name: "growth",
  summary: "longest gap for a writer while 1 server becomes 3 and 3 become 5, in network namespaces",
  async run(context) {
    const lacking = lanLacks();
    if (lacking.length > 0) throw new Error(`lacking here: ${lacking.join(", ")}`);
    await using formation = await startFormation({ hosts: 5, servers: 1, preseed: () => ["founder: m1"] });
    const forget = stopOnSignal(() => formation[Symbol.asyncDispose]());
    const first = await formation.add(0);
    await formation.untilWritable([first], PATIENCE_MS);
    const ask = await startLanWriter(formation.lan, first);
    await grow(context, formation, first, 3, ask);
    if (!context.quick) await grow(context, formation, first, 5, ask);
    forget();
  },
};

async function grow(
  { report, say }: MeasureContext,
  formation: Formation,
  first: Machine,
  to: 3 | 5,
  ask: () => Promise<Written>,
): Promise<void> {
  const from = formation.machines.length;
  const startedAt = performance.now();
  await formation.declareServers(first, to);
  await formation.addAll(...Array.from({ length: to - from }, (_, n) => from + n));
  await formation.untilMembers(
    first,
    Array.from({ length: to }, (_, host) => `m${host + 1}`),
    PATIENCE_MS,
  );
  await waitFor(
    () => formation.machines.some(({ log }) => log.some((line) => line.includes(RAISED))),
    PATIENCE_MS,
    () => `the streams were not raised; ${formation.logs()}`,
  );
  const tookS = round((performance.now() - startedAt) / 1_000);
  const { written, longestMs } = await ask();
  const gapS = round(longestMs / 1_000);
  say(`${from} to ${to} servers: ${tookS} s, ${written} events written, longest gap ${gapS} s`);
  report({
    measure: `growth/${from}-to-${to}`,
    bare: null,
    ours: gapS,
    ratio: round(gapS / GAP_GOAL_S),
    goal: `<= ${GAP_GOAL_S} s without an acknowledged write`,
    met: gapS <= GAP_GOAL_S,
    unit: "s",
    n: written,
    took: tookS,
  });
}
