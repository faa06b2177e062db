// SPDX-License-Identifier: Apache-2.0
/** Whole runs of `debvisor-audit-verify`: what it says, and its exit codes. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type SampleTrail, sampleTrail } from "@debvisor/shared/audit/sample-trail";
import { sealLine } from "@debvisor/shared/audit/trail-file";
import type { TrailReport } from "@debvisor/shared/audit/verify-report";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { auditVerifyProgram } from "./audit-verify-program.ts";
import { runProgram } from "./program.ts";

const folder = mkdtempSync(join(tmpdir(), "dv-audit-verify-"));
afterAll(() => rmSync(folder, { recursive: true }));

let trail: SampleTrail;
let genuine: string;
beforeAll(async () => {
  trail = await sampleTrail({ records: 300, emitters: 3, sealEvery: 100 });
  genuine = write("trail.jsonl", trail.lines);
});

function write(name: string, lines: readonly string[]): string {
  const file = join(folder, name);
  writeFileSync(file, `${lines.join("\n")}\n`);
  return file;
}

async function run(...argv: string[]) {
  let out = "";
  let err = "";
  const code = await runProgram(auditVerifyProgram(), argv, {
    env: { HOME: folder },
    cwd: folder,
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    terminal: undefined,
  });
  return { code, out, err };
}

async function runJson(...argv: string[]): Promise<{ code: number; report: TrailReport }> {
  const { code, out } = await run(...argv, "--format", "json");
  return { code, report: JSON.parse(out) as TrailReport };
}

describe("a genuine trail", () => {
  it("ends with 0 and says what was verified", async () => {
    const { code, out } = await run(genuine, "--no-color");
    expect(code).toBe(0);
    expect(out).toContain("300 of 3 emitters");
    expect(out).toContain("witnesses: 2");
    expect(out).toContain("ok: 300 records, nothing was altered");
  });

  it("gives programs the whole report", async () => {
    const { code, report } = await runJson(genuine, "--signatures", "--trust", trail.header.operator);
    expect({ code, report }).toMatchObject({ code: 0, report: { ok: true, signatures: 300, isPinned: true } });
  });

  it("ends with 0 without witnesses, and says that there are none", async () => {
    const alone = await sampleTrail({ records: 100, witnesses: 0, sealEvery: 100 });
    const file = write("alone.jsonl", alone.lines);
    const { code, err } = await run(file);
    expect(code).toBe(0);
    expect(err).toContain("witnesses: 0");
    expect((await run(file, "--min-witnesses", "1")).code).toBe(6);
  });

  it("is read from standard input as well, by the installed program", () => {
    const bin = join(import.meta.dirname, "..", "bin", "debvisor-audit-verify.cjs");
    const { status, stdout } = spawnSync(process.execPath, [bin, "-", "--format", "json"], {
      input: `${trail.lines.join("\n")}\n`,
      encoding: "utf8",
      timeout: 8_000,
    });
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ ok: true, records: 300 });
  });
});

describe("a trail that is not what was written", () => {
  it("ends with 6 and names the place", async () => {
    const index = 150;
    const text = trail.lines[index] ?? "";
    const file = write("flipped.jsonl", trail.lines.with(index, text.replace("new certificate", "no certificate!")));
    const { code, out, err } = await run(file, "--no-color");
    expect(code).toBe(6);
    expect(out).toMatch(/altered +149 +151/);
    expect(out).toContain("not ok: 300 records");
    expect(err).toContain("[ERROR]");
  });

  it("ends with 6 when it lacks what a checkpoint kept elsewhere vouches for", async () => {
    const [first, , last] = trail.seals;
    if (!first || !last) throw new Error("no checkpoints");
    // What is left of the file contradicts nothing by itself.
    const { to: _to, ...header } = trail.header;
    const cut = write("cut.jsonl", [JSON.stringify(header), ...trail.lines.slice(1, 202)]);
    expect(await runJson(cut)).toMatchObject({ code: 0 });
    for (const [name, lines] of Object.entries({
      "checkpoint.json": [sealLine(last)],
      "status.json": [JSON.stringify({ sealed: last, records: 300 }, null, 2)],
      "older-export.jsonl": trail.lines,
    })) {
      const { code, report } = await runJson(cut, "--checkpoint", write(name, lines));
      expect(code).toBe(6);
      expect(report.findings).toMatchObject([{ kind: "truncated", toSeq: 300 }]);
    }
    expect((await run(genuine, "--checkpoint", write("first.json", [sealLine(first)]))).code).toBe(0);
  });

  it("ends with 6 when another operator was expected", async () => {
    const other = await sampleTrail({ records: 0 });
    const { code, report } = await runJson(genuine, "--trust", other.header.operator);
    expect({ code, report }).toMatchObject({ code: 6, report: { findings: [{ kind: "header" }] } });
  });
});

describe("a wrong call", () => {
  it.each([
    ["without a file", []],
    ["with a flag that there is none of", ["trail.jsonl", "--fast"]],
    ["with a key that is none", ["trail.jsonl", "--trust", "abc"]],
    ["with a folder", [folder]],
    ["with a checkpoint file that holds none", ["trail.jsonl", "--checkpoint", "empty.json"]],
  ])("ends with 2 %s", async (_, argv) => {
    write("empty.json", ["{}"]);
    const { code, err } = await run(
      ...argv.map((word) => (word.endsWith("json") || word.endsWith("jsonl") ? join(folder, word) : word)),
    );
    expect(code).toBe(2);
    expect(err).toContain("(INVALID_ARGUMENT)");
  });

  it("ends with 3 when the file or the checkpoint's file is not there", async () => {
    const missing = join(folder, "missing.jsonl");
    expect(await run(missing)).toMatchObject({ code: 3, err: expect.stringContaining("audit export") });
    expect(await run(genuine, "--checkpoint", missing)).toMatchObject({ code: 3 });
  });

  it("takes anything else that is no export for damaged", async () => {
    expect((await run(write("note.txt", ["hello"]))).code).toBe(6);
    writeFileSync(join(folder, "nothing"), "");
    expect((await run(join(folder, "nothing"))).code).toBe(6);
  });
});
