// SPDX-License-Identifier: Apache-2.0
/**
 * `debvisor-audit-verify` (REQUIREMENTS AUD): verifies an exported audit trail offline. Needs the file and nothing else: no
 * cluster, no network, no right on it.
 */
import { readFileSync } from "node:fs";
import type { SealedCheckpoint } from "@debvisor/proto-events/audit";
import { parseSeal, readLines } from "@debvisor/shared/audit/trail-file";
import { verifyTrail } from "@debvisor/shared/audit/verify";
import { DvError } from "@debvisor/shared/errors";
import { z } from "zod";
import { usage } from "./argv.ts";
import { showTrailReport } from "./audit-report.ts";
import { VerifyFlags } from "./audit-verify-flags.ts";
import type { Call, CommandSpec, Program } from "./command.ts";

const Input = VerifyFlags.extend({ file: z.string().min(1).describe("Exported trail; - reads standard input.") });

const verify: CommandSpec = {
  noun: "",
  summary:
    "Verify an exported audit trail: chains, tree, checkpoints, witnesses, signatures; every finding with its place.",
  input: Input,
  args: ["file"],
  effect: "read",
  privilege: "None beyond reading the file; nothing is asked of a cluster.",
  errors: ["NOT_FOUND"],
  help: {
    examples: [
      { command: "debvisor-audit-verify trail.jsonl", does: "Verify an export." },
      { command: "debvisor-audit-verify trail.jsonl --signatures", does: "Check every record's signature too." },
      { command: "dvctl audit export | debvisor-audit-verify -", does: "Verify without keeping a file." },
    ],
    scenarios: [
      {
        command: "debvisor-audit-verify trail.jsonl --checkpoint last-month.jsonl",
        does: "Prove that nothing was taken back since an older export.",
      },
      {
        command: "debvisor-audit-verify trail.jsonl --min-witnesses 2 --quiet || echo attention",
        does: "Be told when fewer than two other nodes vouch for the trail.",
      },
    ],
  },
  run: async (call) => {
    const { file, ...flags } = Input.parse(call.input);
    const lines = file === "-" ? readLines(file) : existing(file, readLines(file));
    return await verifyLines(lines, flags, call);
  },
};

/** The program `debvisor-audit-verify`. */
export function auditVerifyProgram(): Program {
  return {
    name: "debvisor-audit-verify",
    summary: "verifies an exported audit trail, without a cluster.",
    single: true,
    commands: [verify],
  };
}

/** Verifies the lines of an export and shows the result; returns the exit code. @throws NOT_FOUND, INVALID_ARGUMENT for --checkpoint */
export async function verifyLines(
  lines: AsyncIterable<string>,
  flags: z.output<typeof VerifyFlags>,
  call: Pick<Call, "output" | "signal">,
): Promise<number> {
  const { signatures, trust, checkpoint, minWitnesses } = flags;
  const checkpoints = checkpoint === undefined ? [] : readCheckpoints(checkpoint);
  const started = performance.now();
  const report = await verifyTrail(untilAborted(lines, call.signal), {
    signatures,
    operator: trust,
    minWitnesses,
    checkpoints,
  });
  const ms = performance.now() - started;
  call.output.debug(
    `${report.records} records in ${Math.round(ms)} ms, ${Math.round(report.records / (ms / 1_000))}/s`,
  );
  return showTrailReport(report, call);
}

async function* untilAborted(lines: AsyncIterable<string>, signal: AbortSignal): AsyncGenerator<string> {
  for await (const line of lines) {
    if (signal.aborted) return;
    yield line;
  }
}

/** The largest checkpoint of a file: a checkpoint alone, what `dvctl audit status --format json` printed, or an export. */
function readCheckpoints(file: string): SealedCheckpoint[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw unreadable(file, error);
  }
  const sealed = [...text.split("\n"), ...inObject(text)].flatMap((line) => parseSeal(line) ?? []);
  const [largest] = sealed.sort((a, b) => b.checkpoint.size - a.checkpoint.size);
  if (!largest) throw usage(`${file} holds no checkpoint of an audit trail`);
  return [largest];
}

/** A checkpoint that is written over several lines, or inside of the answer of `dvctl audit status`. */
function inObject(text: string): string[] {
  try {
    const value = JSON.parse(text) as { readonly sealed?: unknown } | null;
    return [JSON.stringify(value), JSON.stringify(value?.sealed ?? null)];
  } catch {
    return [];
  }
}

async function* existing(file: string, lines: AsyncIterable<string>): AsyncGenerator<string> {
  try {
    yield* lines;
  } catch (error) {
    throw unreadable(file, error);
  }
}

function unreadable(file: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOENT") {
    const hint = "`dvctl audit export > trail.jsonl` writes one.";
    return new DvError("NOT_FOUND", `there is no file ${file}`, { cause: error, details: { hint } });
  }
  return code === undefined ? error : usage(`${file} cannot be read: ${code}`);
}
