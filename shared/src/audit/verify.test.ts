// SPDX-License-Identifier: Apache-2.0
/** Verification of small trails: what is right passes, and every way of tampering is found at its place. */
import { beforeAll, describe, expect, it } from "vitest";
import { cosignCheckpoint, signCheckpoint } from "./checkpoint.ts";
import { leafHash, MerkleTree } from "./merkle.ts";
import { buildRecord } from "./record.ts";
import { type SampleTrail, sampleBody, sampleTrail } from "./sample-trail.ts";
import { headerLine, isSealLine, mergeLines, parseSeal, sealLine, splitLines } from "./trail-file.ts";
import { verifyTrail } from "./verify.ts";
import type { TrailReport } from "./verify-report.ts";

const RECORDS = 1_000;
const SEAL_EVERY = 100;
let trail: SampleTrail;

beforeAll(async () => {
  trail = await sampleTrail({ records: RECORDS, emitters: 4, sealEvery: SEAL_EVERY });
});

/** Index of a record's line, by its place in the trail. */
function lineOf(seq: number, lines: readonly string[] = trail.lines): number {
  let count = 0;
  for (const [i, line] of lines.entries()) if (i > 0 && !isSealLine(line) && ++count === seq) return i;
  throw new RangeError(`there is no record ${seq}`);
}

function at(seq: number): string {
  return trail.lines[lineOf(seq)] ?? "";
}

/** What was found at a place, one of the kinds. */
function found(report: TrailReport, kind: string): number[] {
  return report.findings.filter((finding) => finding.kind === kind).map(({ seq }) => seq ?? 0);
}

describe("a trail that nobody touched", () => {
  it("passes, with its figures", async () => {
    const report = await verifyTrail(trail.lines);
    expect(report).toMatchObject({
      ok: true,
      cluster: "sample",
      generation: 1,
      isPinned: false,
      records: RECORDS,
      emitters: 4,
      checkpoints: 10,
      sealedUpTo: RECORDS,
      unsealed: 0,
      open: 0,
      unknown: 0,
      signatures: 0,
      findings: [],
    });
    expect(report.witnesses).toHaveLength(2);
  });

  it("passes with every signature checked, against the pinned operator and a checkpoint kept elsewhere", async () => {
    const options = {
      signatures: true,
      operator: trail.header.operator,
      checkpoints: trail.seals.slice(3, 4),
      minWitnesses: 2,
    };
    const report = await verifyTrail(trail.lines, options);
    expect(report).toMatchObject({ ok: true, isPinned: true, signatures: RECORDS });
  });

  it("passes without witnesses, says so, and fails only when some were asked for", async () => {
    const alone = await sampleTrail({ records: 200, witnesses: 0, sealEvery: 100 });
    expect(await verifyTrail(alone.lines)).toMatchObject({ ok: true, witnesses: [] });
    const asked = await verifyTrail(alone.lines, { minWitnesses: 1 });
    expect(asked.findings).toMatchObject([{ kind: "witnesses", isFailure: true }]);
  });

  it("checks the signatures of what is not sealed yet", async () => {
    const open = await sampleTrail({ records: 150, emitters: 2, sealEvery: 100 });
    expect(await verifyTrail(open.lines)).toMatchObject({ ok: true, sealedUpTo: 100, unsealed: 50, signatures: 50 });
    const last = open.lines.at(-1) ?? "";
    const report = await verifyTrail([...open.lines.slice(0, -1), last.replace("new certificate", "old certificate")]);
    expect(report).toMatchObject({ ok: false, findings: [{ kind: "altered", seq: 150 }] });
  });

  it("counts intents without outcome and outcomes that nobody can tell as no failure", async () => {
    const [signer] = trail.emitters;
    if (!signer) throw new Error("no emitter");
    const lines = [headerLine({ ...trail.header, to: 3 })];
    let chain: { n: number; leaf: string | null } = { n: 0, leaf: null };
    for (const [i, kind] of (["start", "intent", "outcome"] as const).entries()) {
      const place = { chain, signer, id: "0".repeat(32), boot: "b", mono: 0, time: "2026-01-01T00:00:00.000Z" };
      const result = { status: "unknown", code: null, exitCode: 5, message: null } as const;
      const body = { ...sampleBody(i * 2, kind), ...(kind === "outcome" ? { result } : {}) };
      const { line, leaf } = buildRecord(body, place);
      lines.push(line);
      chain = { n: chain.n + 1, leaf };
    }
    expect(await verifyTrail(lines)).toMatchObject({ ok: true, open: 1, unknown: 1, unsealed: 3, witnesses: [] });
  });

  it("passes when it begins later, with the subtrees and chains of what came before", async () => {
    const tree = new MerkleTree();
    const emitters: Record<string, { n: number; leaf: string; credentials: Record<string, string> }> = {};
    for (let seq = 1; seq <= 250; seq++) {
      const line = at(seq);
      tree.append(leafHash(line));
      const { emitter, n, boot, cred } = JSON.parse(line) as {
        emitter: string;
        n: number;
        boot: string;
        cred: string | null;
      };
      const credentials = { ...emitters[emitter]?.credentials, ...(cred === null ? {} : { [boot]: cred }) };
      emitters[emitter] = { n, leaf: leafHash(line), credentials };
    }
    const peaks = [tree.root(128), ...peaksAfter(250)];
    const before = { peaks, emitters };
    const part = [headerLine({ ...trail.header, from: 251, before }), ...trail.lines.slice(lineOf(251))];
    expect(await verifyTrail(part)).toMatchObject({
      ok: true,
      from: 251,
      records: 750,
      sealedUpTo: 1_000,
      unsealed: 0,
    });
    const lacking = [headerLine({ ...trail.header, from: 251 }), ...trail.lines.slice(lineOf(251))];
    expect(await verifyTrail(lacking)).toMatchObject({ ok: false, findings: [{ kind: "header" }] });
  });
});

/** Hashes of the complete subtrees after the first 128 leaves. */
function peaksAfter(size: number): string[] {
  const peaks: string[] = [];
  let start = 128;
  for (let width = 64; width >= 1; width /= 2) {
    if ((size - 128) % (width * 2) < width) continue;
    const tree = new MerkleTree();
    for (let seq = start + 1; seq <= start + width; seq++) tree.append(leafHash(at(seq)));
    peaks.push(tree.root());
    start += width;
  }
  return peaks;
}

describe("tampering", () => {
  it("finds a changed record, with and without checking every signature", async () => {
    const line = lineOf(333);
    const lines = trail.lines.with(line, at(333).replace("new certificate", "old certificate"));
    for (const signatures of [false, true]) {
      const report = await verifyTrail(lines, { signatures });
      expect(report.findings).toMatchObject([{ kind: "altered", seq: 333, line: line + 1 }]);
      expect(report).toMatchObject({ ok: false, sealedUpTo: 300 });
    }
  });

  it("finds a record that cannot be read any more", async () => {
    const report = await verifyTrail(trail.lines.with(lineOf(512), at(512).slice(0, 100)));
    expect(found(report, "altered")).toEqual([512]);
    expect(found(report, "deleted")).toEqual([]);
  });

  it("finds a flipped bit anywhere in a line", async () => {
    const small = await sampleTrail({ records: 40, emitters: 2, sealEvery: 20 });
    const index = lineOf(33, small.lines);
    const text = small.lines[index] ?? "";
    for (let place = 0; place < text.length; place += 5) {
      const flipped = text.slice(0, place) + String.fromCharCode(text.charCodeAt(place) ^ 1) + text.slice(place + 1);
      const report = await verifyTrail(small.lines.with(index, flipped));
      expect(report.ok, `bit of character ${place}`).toBe(false);
      expect(found(report, "altered").concat(found(report, "emitter")), `bit of character ${place}`).toContain(33);
    }
  });

  it("finds a record that was taken out, in the middle and at the end of what is sealed", async () => {
    const middle = await verifyTrail(trail.lines.toSpliced(lineOf(444), 1));
    expect(middle.findings).toMatchObject([{ kind: "deleted", isFailure: true }]);
    expect(middle.findings[0]?.seq ?? 0).toBeLessThanOrEqual(444);
    expect(middle.findings[0]?.toSeq).toBeGreaterThanOrEqual(444);
    const last = await verifyTrail(trail.lines.toSpliced(lineOf(1_000), 1));
    expect(last.findings.map(({ kind }) => kind)).toEqual(["truncated"]);
    expect(last.findings).toMatchObject([{ seq: 1_000, toSeq: 1_000 }]);
  });

  it("finds a record that was put in: forged, or by somebody without credential", async () => {
    const line = lineOf(500);
    const forged = at(500).replace("new certificate", "a good reason..");
    const report = await verifyTrail(trail.lines.toSpliced(line, 0, forged));
    expect(report.findings).toMatchObject([{ kind: "inserted", seq: 500, line: line + 1 }]);
    const foreign = at(500).replace(/"emitter":"gateway-[a-z2-7]{16}"/, `"emitter":"gateway-${"a".repeat(16)}"`);
    expect(found(await verifyTrail(trail.lines.toSpliced(line, 0, foreign)), "emitter")).toEqual([500]);
  });

  it("finds a record that is there twice", async () => {
    const report = await verifyTrail(trail.lines.toSpliced(lineOf(700), 0, at(120)));
    expect(report.findings).toMatchObject([{ kind: "replayed", seq: 700 }]);
  });

  it("finds two records of one emitter that changed places", async () => {
    const lines = trail.lines.with(lineOf(205), at(206)).with(lineOf(206), at(205));
    expect(found(await verifyTrail(lines), "reordered")).toEqual([206]);
  });

  it("finds records of different emitters that changed places, between the two checkpoints around", async () => {
    const lines = trail.lines.with(lineOf(206), at(207)).with(lineOf(207), at(206));
    const report = await verifyTrail(lines);
    expect(report.findings).toMatchObject([{ kind: "reordered", seq: 201, toSeq: 300 }]);
  });

  it("finds that the end is missing, by a later checkpoint in the file, elsewhere, or the header", async () => {
    const cut = trail.lines.slice(0, lineOf(951));
    const sealed = sealLine(trail.seals.at(-1) as never);
    expect((await verifyTrail([...cut, sealed])).findings).toMatchObject([
      { kind: "truncated", seq: 951, toSeq: 1_000 },
    ]);
    const anywhere = [headerLine({ ...trail.header, to: 0 }), ...cut.slice(1)];
    expect(await verifyTrail(anywhere)).toMatchObject({ ok: true, unsealed: 50 });
    const elsewhere = await verifyTrail(anywhere, { checkpoints: trail.seals.slice(-1) });
    expect(elsewhere.findings).toMatchObject([{ kind: "truncated", seq: 951, toSeq: 1_000 }]);
    expect((await verifyTrail(cut)).findings).toMatchObject([{ kind: "truncated", seq: 951, toSeq: 1_000 }]);
  });

  it("finds several at once, and does not lose count of the places behind", async () => {
    const one = trail.lines.with(lineOf(900), at(900).replace("new certificate", "old certificate"));
    const report = await verifyTrail(one.toSpliced(lineOf(222), 1));
    expect(report.findings.map(({ kind }) => kind)).toEqual(["deleted", "altered"]);
    expect(found(report, "altered")).toEqual([900]);
  });
});

describe("checkpoints", () => {
  const insertSeal = (line: string, seq: number) => trail.lines.toSpliced(lineOf(seq) + 1, 0, line);

  it("finds a checkpoint whose signature is wrong, or that cannot be read", async () => {
    const index = trail.lines.findIndex(isSealLine);
    const text = trail.lines[index] ?? "";
    const changed = await verifyTrail(trail.lines.with(index, text.replace(/"time":"2026/, '"time":"2025')));
    expect(changed.findings[0]).toMatchObject({ kind: "checkpoint", seq: 100, line: index + 1 });
    const broken = await verifyTrail(trail.lines.with(index, text.slice(0, -5)));
    expect(broken.findings).toMatchObject([{ kind: "checkpoint", line: index + 1 }]);
  });

  it("finds two checkpoints of one size that contradict each other", async () => {
    const other = sealLine(trail.seal({ size: 500, root: leafHash("another history") }));
    const seal = trail.lines.findIndex((line) => parseSeal(line)?.checkpoint.size === 500);
    const report = await verifyTrail(trail.lines.toSpliced(seal + 1, 0, other));
    expect(report.findings).toMatchObject([{ kind: "forked", seq: 500 }]);
  });

  it("finds that a checkpoint kept elsewhere vouches for another history", async () => {
    const other = trail.seal({ size: 640, root: leafHash("another history") });
    const report = await verifyTrail(trail.lines, { checkpoints: [other] });
    expect(report.findings).toMatchObject([{ kind: "forked", seq: 601, toSeq: 640 }]);
  });

  it("finds a history that was written anew by the emitters themselves, and sealed anew", async () => {
    const again = await sampleTrail({ records: 300, emitters: 4, sealEvery: 100 });
    expect(await verifyTrail(again.lines)).toMatchObject({ ok: true });
    const report = await verifyTrail(again.lines, { operator: trail.header.operator });
    expect(report.findings).toMatchObject([{ kind: "header" }]);
  });

  it("finds a checkpoint that is smaller than the one before", async () => {
    const [first] = trail.seals;
    if (!first) throw new Error("no checkpoint");
    const report = await verifyTrail(insertSeal(sealLine(first), 350));
    expect(report.findings).toMatchObject([{ kind: "rolled-back", seq: 100 }]);
  });

  it("only says that a sealer's clock went back", async () => {
    const size = 350;
    const tree = new MerkleTree();
    for (let seq = 1; seq <= size; seq++) tree.append(leafHash(at(seq)));
    const head = { cluster: "sample", generation: 1, size, root: tree.root(), time: "2025-12-31T23:00:00.000Z" };
    const sealed = { checkpoint: signCheckpoint(head, trail.sealer), witnesses: [] };
    const report = await verifyTrail(insertSeal(sealLine(sealed), size));
    expect(report).toMatchObject({ ok: true, findings: [{ kind: "clock", isFailure: false, seq: size }] });
  });

  it("does not count a checkpoint that a node signed, nor one of another cluster", async () => {
    const [node] = trail.witnesses;
    if (!node) throw new Error("no witness");
    const head = { cluster: "sample", generation: 1, size: 350, root: leafHash("x"), time: "2026-01-02T00:00:00.000Z" };
    const byNode = { checkpoint: signCheckpoint(head, node), witnesses: [] };
    expect(found(await verifyTrail(insertSeal(sealLine(byNode), 350)), "checkpoint")).toEqual([350]);
    const foreign = { checkpoint: signCheckpoint({ ...head, cluster: "other" }, trail.sealer), witnesses: [] };
    expect(found(await verifyTrail(insertSeal(sealLine(foreign), 350)), "checkpoint")).toEqual([350]);
  });

  it("finds a forged cosignature, and counts a witness once", async () => {
    const [sealed] = trail.seals;
    const [one, two] = trail.witnesses;
    if (!sealed || !one || !two) throw new Error("no checkpoint");
    const { checkpoint } = sealed;
    const good = cosignCheckpoint(checkpoint, one, "2026-01-02T00:00:00.000Z");
    const lines = (witnesses: (typeof good)[]) => [
      headerLine({ ...trail.header, to: 100 }),
      ...trail.lines.slice(1, 101),
      sealLine({ checkpoint, witnesses }),
    ];
    expect((await verifyTrail(lines([good, good]))).witnesses).toEqual([one.user]);
    const stolen = { ...good, witness: two.user };
    expect((await verifyTrail(lines([stolen]))).findings).toMatchObject([{ kind: "witness", emitter: two.user }]);
    const forged = { ...good, time: "2026-01-03T00:00:00.000Z" };
    expect(found(await verifyTrail(lines([good, forged])), "witness")).toEqual([100]);
  });
});

describe("the export", () => {
  it("is refused when its header is none, or names an operator who signed nothing", async () => {
    expect((await verifyTrail([])).findings).toMatchObject([{ kind: "header" }]);
    expect((await verifyTrail(["{}"])).findings).toMatchObject([{ kind: "header", line: 1 }]);
    const other = await sampleTrail({ records: 0 });
    const mixed = [headerLine({ ...trail.header, operator: other.header.operator }), ...trail.lines.slice(1)];
    expect((await verifyTrail(mixed)).findings).toMatchObject([{ kind: "header" }]);
  });

  it("is the same whatever parts it is read in", async () => {
    const records = trail.lines.slice(1).filter((line) => !isSealLine(line));
    const seals = trail.seals.map(sealLine);
    const parts = [0, 150, 300, 1_000].flatMap((start, i, starts) =>
      mergeLines(start + 1, records.slice(start, starts[i + 1]), seals),
    );
    expect(parts).toEqual(trail.lines.slice(1));
    const bytes = Buffer.from(`${trail.lines.join("\n")}\n`);
    const chunks = function* () {
      for (let at = 0; at < bytes.length; at += 777) yield bytes.subarray(at, at + 777);
    };
    expect(await Array.fromAsync(splitLines(toAsync(chunks())))).toEqual(trail.lines);
  });

  it("does not take bytes that are no UTF-8, and lines without end, for a record", async () => {
    const bytes = Buffer.concat([
      Buffer.from("a\n"),
      Buffer.of(0xff, 10),
      Buffer.alloc(3 * 1024 * 1024, 65),
      Buffer.from("\nb"),
    ]);
    const lines = await Array.fromAsync(splitLines(toAsync([bytes])));
    expect(lines).toEqual(["a", "\0a line that is no UTF-8", "\0a line of 3145728 bytes", "b"]);
  });
});

async function* toAsync(chunks: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* chunks;
}
