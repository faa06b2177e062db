// SPDX-License-Identifier: Apache-2.0
/**
 * Growth in network namespaces: one server becomes three, whose streams are then raised to three replicas, and three become five, while
 * a member writes an event every ten milliseconds. What counts is the longest time in which none was acknowledged.
 */
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Formation, startFormation } from "../../test/support/formation.ts";
import { lanLacks } from "../../test/support/lan-namespaces.ts";
import type { Machine } from "../../test/support/node-machine.ts";
import { waitFor } from "../../test/support/wait-for.ts";
import { type Measure, type MeasureContext, round } from "../measure.ts";
import { stopOnSignal } from "../stop-on-signal.ts";

const GAP_GOAL_S = 10;
const PATIENCE_MS = 120_000;
const WRITER = fileURLToPath(new URL("../load/lan-writer.ts", import.meta.url));
/** What discovery logs when the streams have three replicas. */
const RAISED = "streams raised to three replicas";

interface Written {
  readonly written: number;
  readonly longestMs: number;
}

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
    const ask = startWriter(formation, first);
    await ask();
    await grow(context, formation, first, [1, 2], ask);
    if (!context.quick) await grow(context, formation, first, [3, 4], ask);
    forget();
  },
};

/** Starts the writer on a machine's host; the function asks for what it wrote since it was last asked. */
function startWriter(formation: Formation, { host, nodeDir }: Machine): () => Promise<Written> {
  const child = formation.lan.spawn(host, [process.execPath, WRITER, nodeDir]);
  let said = "";
  child.stderr?.on("data", (text) => (said += String(text)));
  if (!child.stdin || !child.stdout) throw new Error("the writer has no pipes");
  const { stdin } = child;
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return async () => {
    stdin.write("\n");
    const { value } = await lines.next();
    if (value === undefined) throw new Error(`the writer ended: ${said}`);
    return JSON.parse(value) as Written;
  };
}

async function grow(
  { report, say }: MeasureContext,
  formation: Formation,
  first: Machine,
  hosts: readonly number[],
  ask: () => Promise<Written>,
): Promise<void> {
  const from = formation.machines.length;
  const to = from + hosts.length;
  const startedAt = performance.now();
  await declare(formation, first, to);
  await formation.addAll(...hosts);
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

/** Lets the cluster have so many servers; resolves when the gateway shows it. */
async function declare({ key }: Formation, machine: Machine, servers: number): Promise<void> {
  const answer = await key.ask(machine, "POST", "/v1/cluster/servers", { servers });
  if (answer?.status !== 202) throw new Error(`the cluster may not grow: ${JSON.stringify(answer)}`);
  await waitFor(
    async () => {
      const shown = await key.ask(machine, "GET", "/v1/cluster");
      return (shown?.body["servers"] as { declared?: number } | undefined)?.declared === servers;
    },
    PATIENCE_MS,
    () => `the cluster is not declared to have ${servers} servers`,
  );
}
