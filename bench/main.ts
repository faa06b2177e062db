// SPDX-License-Identifier: Apache-2.0
/**
 * `npm run bench -- [names…] [--quick] [--list]`: measures the paths that must stay close to bare (DESIGN.md 12). One JSON
 * line per result on standard output, messages on standard error. Exit code 1 only if a measure could not be taken.
 */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import type { Measure } from "./measure.ts";
import { auditVerify } from "./measures/audit-verify.ts";
import { costPerNode } from "./measures/cost-per-node.ts";
import { dns } from "./measures/dns.ts";
import { events } from "./measures/events.ts";
import { fanOut } from "./measures/fan-out.ts";
import { formation } from "./measures/formation.ts";
import { gatewayRead } from "./measures/gateway-read.ts";
import { growth } from "./measures/growth.ts";
import { hostileLan } from "./measures/hostile-lan.ts";
import { idleMemory } from "./measures/idle-memory.ts";
import { localCluster } from "./measures/local-cluster.ts";
import { operations } from "./measures/operations.ts";

const MEASURES: readonly Measure[] = [
  gatewayRead,
  fanOut,
  costPerNode,
  events,
  localCluster,
  operations,
  auditVerify,
  formation,
  growth,
  hostileLan,
  idleMemory,
  dns,
];

const say = (text: string) => process.stderr.write(`${text}\n`);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: "boolean", default: false }, list: { type: "boolean", default: false } },
});
const unknown = positionals.filter((name) => !MEASURES.some((measure) => measure.name === name));
if (values.list || unknown.length > 0) {
  for (const name of unknown) say(`[ERROR] no such measure: ${name}`);
  for (const { name, summary } of MEASURES) say(`${name.padEnd(16)} ${summary}`);
  process.exitCode = unknown.length > 0 ? 2 : 0;
} else {
  const wanted = MEASURES.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  say(
    `[INFO] ${availableParallelism()} processors, Node ${process.versions.node}${values.quick ? ", quick run: the figures mean little" : ""}`,
  );
  for (const measure of wanted) await take(measure);
}

async function take(measure: Measure): Promise<void> {
  const from = performance.now();
  say(`[INFO] ${measure.name}: ${measure.summary}`);
  try {
    await measure.run({
      quick: values.quick,
      say: (text) => say(`[INFO]   ${text}`),
      report: (figures) => process.stdout.write(`${JSON.stringify(figures)}\n`),
    });
  } catch (error) {
    say(`[ERROR] ${measure.name} could not be measured: ${error instanceof Error ? error.stack : String(error)}`);
    process.exitCode = 1;
  }
  say(`[INFO] ${measure.name}: took ${((performance.now() - from) / 1_000).toFixed(1)} s`);
}
