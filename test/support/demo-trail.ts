// SPDX-License-Identifier: Apache-2.0
/** The audit trail after a run of the demo: an outcome for every intent, one of each, and a proof that it is whole. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import type { Ended } from "./demo-oracle.ts";
import type { Demo } from "./demo-run.ts";

/** The reaper leaves an intent alone for 60 s. */
const REAPED_MS = 100_000;

const AFTER_ROLLBACK = new Set(["undone", "stuck"]);

interface TrailRecord {
  readonly kind: string;
  readonly ref: string;
  readonly action: string;
  readonly operation: string | null;
  readonly result: { readonly status: string } | null;
}

/** Notes what is wrong; returns figures. */
export async function checkTrail(demo: Demo, operations: readonly Ended[]): Promise<string> {
  const startedAt = performance.now();
  for (;;) {
    const { openIntents } = await demo.ask<{ openIntents: number }>("/v1/audit/seal");
    if (openIntents === 0) break;
    if (performance.now() - startedAt > REAPED_MS) {
      demo.wrong(`${openIntents} intents have no outcome`);
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
  const reapedMs = Math.round(performance.now() - startedAt);
  await demo.run([0], ["audit", "verify", "--signatures"]);
  const exported = await demo.run([0], ["audit", "export"]);
  const file = path.join(demo.folder, "trail.jsonl");
  writeFileSync(file, exported.stdout);
  await demo.run([0], [file, "--signatures"], "debvisor-audit-verify");
  const records = exported.stdout.split("\n").flatMap(recordOf);
  checkPairs(demo, records, operations);
  const unknown = records.filter(({ result }) => result?.status === "unknown").length;
  return `${records.length} records of the trail, ${unknown} outcomes unknown, the last intent closed after ${reapedMs} ms`;
}

function recordOf(line: string): readonly TrailRecord[] {
  if (!line.startsWith("{")) return [];
  const record = JSON.parse(line) as Partial<TrailRecord>;
  return record.kind !== undefined && record.ref !== undefined ? [record as TrailRecord] : [];
}

function checkPairs(demo: Demo, records: readonly TrailRecord[], operations: readonly Ended[]): void {
  const refs = new Set(records.filter(({ kind }) => kind === "intent").map(({ ref }) => ref));
  for (const ref of refs) {
    const own = records.filter(
      (record) => record.ref === ref && (record.kind === "intent" || record.kind === "outcome"),
    );
    const told = own.map(({ kind, result }) => `${kind} ${result?.status ?? ""}`.trim());
    // A repeat after an answer that got lost announces itself anew. A rollback of what has ended adds its own outcome; its
    // intent is that of the request.
    const [first] = own;
    const rest = own.slice(own.findIndex(({ kind }) => kind === "outcome"));
    const isWhole =
      first?.kind === "intent" &&
      rest.every(({ kind, result }, i) => kind === "outcome" && (i === 0 || AFTER_ROLLBACK.has(result?.status ?? "")));
    if (!isWhole)
      demo.wrong(`the trail of ${first?.action} ${ref} is not an intent and its outcome: ${told.join(", ")}`);
  }
  for (const { operation } of operations) {
    const own = records.filter(({ ref }) => ref === operation.id);
    if (own.length === 0) demo.wrong(`the trail has nothing about ${operation.id}`);
    const last = own.findLast(({ kind }) => kind === "outcome")?.result?.status;
    if (last === "unknown") demo.wrong(`${operation.id} is ${operation.state}, and its outcome in the trail unknown`);
  }
}
