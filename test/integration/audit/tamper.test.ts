// SPDX-License-Identifier: Apache-2.0
/**
 * The fault list of the audit trail on 100,000 records: each way of tampering is found, and its place is named. Prints how fast
 * a trail is verified here, with and without checking every signature.
 */
import { availableParallelism } from "node:os";
import { leafHash } from "@debvisor/shared/audit/merkle";
import { type SampleTrail, sampleTrail } from "@debvisor/shared/audit/sample-trail";
import { isSealLine, parseSeal, sealLine } from "@debvisor/shared/audit/trail-file";
import { verifyTrail } from "@debvisor/shared/audit/verify";
import type { TrailReport } from "@debvisor/shared/audit/verify-report";
import { beforeAll, expect, test } from "vitest";

const RECORDS = 100_000;
const MINUTE = 60_000;
let trail: SampleTrail;
/** Index of each record's line by its place. */
let places: readonly number[];

beforeAll(async () => {
  trail = await sampleTrail({ records: RECORDS, emitters: 8 });
  places = [0, ...trail.lines.flatMap((line, i) => (i === 0 || isSealLine(line) ? [] : [i]))];
}, 3 * MINUTE);

function at(seq: number): { readonly index: number; readonly text: string } {
  const index = places[seq] ?? 0;
  return { index, text: trail.lines[index] ?? "" };
}

async function timed(name: string, verify: () => Promise<TrailReport>): Promise<TrailReport> {
  const from = performance.now();
  const report = await verify();
  const ms = performance.now() - from;
  const rate = Math.round(report.records / (ms / 1_000));
  process.stdout.write(`${name}: ${report.records} records in ${Math.round(ms)} ms, ${rate} records/s\n`);
  return report;
}

/** A finding of that kind whose place is, or includes, the given one, and not much more. */
function expectFound(report: TrailReport, kind: string, seq: number, width = 0): void {
  expect(report.ok).toBe(false);
  const hits = report.findings.filter((finding) => finding.kind === kind);
  const covers = hits.filter((finding) => {
    const from = finding.seq ?? Number.NaN;
    const to = finding.toSeq ?? from;
    return from <= seq && seq <= to && to - from <= width;
  });
  expect(covers, JSON.stringify(report.findings.slice(0, 5))).toHaveLength(1);
}

test("a genuine trail passes, in less than five seconds", { timeout: MINUTE }, async () => {
  const from = performance.now();
  const report = await timed("chains, tree and checkpoints", () => verifyTrail(trail.lines));
  expect(performance.now() - from).toBeLessThan(5_000);
  expect(report).toMatchObject({ ok: true, records: RECORDS, checkpoints: 100, sealedUpTo: RECORDS, findings: [] });
});

test("every signature is checked on request", { timeout: 2 * MINUTE }, async () => {
  const name = `and every signature, on ${availableParallelism()} cores`;
  const report = await timed(name, () => verifyTrail(trail.lines, { signatures: true }));
  expect(report).toMatchObject({ ok: true, signatures: RECORDS });
});

test("a flipped bit", { timeout: MINUTE }, async () => {
  for (const seq of [96_001, 99_999, RECORDS]) {
    const { index, text } = at(seq);
    const half = Math.floor(text.length / 2);
    const flipped = text.slice(0, half) + String.fromCharCode(text.charCodeAt(half) ^ 1) + text.slice(half + 1);
    const report = await verifyTrail(trail.lines.with(index, flipped));
    expectFound(report, "altered", seq);
    expect(report.findings).toHaveLength(1);
  }
});

test("a record taken out", { timeout: MINUTE }, async () => {
  const report = await verifyTrail(trail.lines.toSpliced(at(97_123).index, 1));
  // Between the records of that emitter before and after it.
  expectFound(report, "deleted", 97_123, 16);
});

test("a record put in", { timeout: MINUTE }, async () => {
  const { index, text } = at(98_500);
  const forged = text.replace('"reason":"new certificate"', '"reason":"nothing to see"');
  expectFound(await verifyTrail(trail.lines.toSpliced(index, 0, forged)), "inserted", 98_500);
  const copied = await verifyTrail(trail.lines.toSpliced(index, 0, at(1_234).text));
  expectFound(copied, "replayed", 98_500);
});

test("records that changed places", { timeout: MINUTE }, async () => {
  const [one, two] = [at(98_010), at(98_026)];
  const swapped = trail.lines.with(one.index, two.text).with(two.index, one.text);
  expectFound(await verifyTrail(swapped), "reordered", 98_026);
  // Of different emitters only the tree knows the order, from one checkpoint to the next.
  const [three, four] = [at(98_400), at(98_401)];
  const crossed = trail.lines.with(three.index, four.text).with(four.index, three.text);
  expectFound(await verifyTrail(crossed), "reordered", 98_400, 999);
});

test("an end that is missing", { timeout: MINUTE }, async () => {
  const last = trail.seals.at(-1);
  if (!last) throw new Error("no checkpoint");
  const cut = trail.lines.slice(0, at(99_500).index);
  expectFound(await verifyTrail([...cut, sealLine(last)]), "truncated", 99_500, 500);
  const { to: _to, ...header } = trail.header;
  const silent = [JSON.stringify(header), ...cut.slice(1)];
  expect(await verifyTrail(silent)).toMatchObject({ ok: true, unsealed: 499 });
  expectFound(await verifyTrail(silent, { checkpoints: [last] }), "truncated", 99_500, 500);
});

test("a fork", { timeout: MINUTE }, async () => {
  const rival = trail.seal({ size: 99_000, root: leafHash("another history") });
  const index = trail.lines.findIndex((line) => parseSeal(line)?.checkpoint.size === 99_000);
  expectFound(await verifyTrail(trail.lines.toSpliced(index + 1, 0, sealLine(rival))), "forked", 99_000);
  expectFound(await verifyTrail(trail.lines, { checkpoints: [rival] }), "forked", 98_500, 999);
});
