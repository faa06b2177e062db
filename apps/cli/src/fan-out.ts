// SPDX-License-Identifier: Apache-2.0
/** The outcome of a question to many nodes: every target in the table, the census on standard error, the exit code. */
import type { CliSpec, Column } from "@debvisor/proto-events/kit";
import { type Census, fanOut } from "@debvisor/proto-events/replies";
import { DvError } from "@debvisor/shared/errors";
import { printable } from "@debvisor/shared/output";
import { renderTable, valueAt } from "@debvisor/shared/table";
import { z } from "zod";
import type { ApiReply } from "./client.ts";
import { type Call, EXIT } from "./command.ts";

const Outcome = fanOut(z.unknown());
export type Outcome = z.output<typeof Outcome>;

type Verdict = NonNullable<CliSpec["verdict"]>;

/** Reads the body of a fan-out. @throws MALFORMED_REPLY */
export function readFanOut(reply: Pick<ApiReply, "body" | "server">): Outcome {
  const outcome = Outcome.safeParse(reply.body);
  if (outcome.success) return outcome.data;
  const issue = outcome.error.issues[0];
  throw new DvError("MALFORMED_REPLY", `${reply.server}: ${issue?.path.join(".")}: ${issue?.message}`, {
    cause: outcome.error,
  });
}

/** Prints a fan-out and returns its exit code. */
export function reportFanOut(
  reply: ApiReply,
  cli: Pick<CliSpec, "columns" | "verdict" | "findings">,
  call: Call,
): number {
  const outcome = readFanOut(reply);
  call.output.result(
    reply.body,
    () => drawFanOut(outcome, cli, { color: call.output.color, nowMs: Date.now() }),
    reply.text,
  );
  reportCensus(outcome.census, call);
  for (const { name, value } of warnings(outcome, cli.verdict)) call.output.warn(`${name}: ${value}`);
  return fanOutExitCode(outcome, cli.verdict);
}

/** Draws every target, and under it what was found there. */
export function drawFanOut(
  outcome: Outcome,
  cli: Pick<CliSpec, "columns" | "findings">,
  style: { color: boolean; nowMs: number },
): string {
  const failed = outcome.results.some(({ error }) => error !== undefined);
  const columns: readonly Column[] = [
    { heading: "NODE", value: "name" },
    { heading: "STATUS", value: "status" },
    ...(cli.columns ?? [{ heading: "MS", value: "ms" }]),
    ...(failed ? [{ heading: "ERROR", value: "error.message" }] : []),
  ];
  const main = renderTable(columns, outcome.results, style);
  const { findings } = cli;
  if (!findings) return main;
  const rows = outcome.results.flatMap((result) => findingsOf(result, findings));
  const heading = { heading: "NODE", value: "target" };
  if (rows.length === 0) return main;
  const short = rows.map((row) => shortened(row, findings.columns));
  const longer = rows.flatMap((row) => restOf(row, findings.columns));
  return [main, renderTable([heading, ...findings.columns], short, style), ...longer].join("\n\n");
}

const CUT = " (more below)";

/* A cell holds one line. What has more, such as the journal of a failed unit, goes below the table. */
function shortened(row: Readonly<Record<string, unknown>>, columns: readonly Column[]): Record<string, unknown> {
  const cut = columns.flatMap(({ value }) => {
    const lines = linesAt(row, value);
    return lines.length > 1 ? [[value, `${lines[0]}${CUT}`] as const] : [];
  });
  return { ...row, ...Object.fromEntries(cut) };
}

function restOf(row: Readonly<Record<string, unknown>>, columns: readonly Column[]): readonly string[] {
  return columns.flatMap(({ value }) => {
    const rest = linesAt(row, value).slice(1);
    const title = [row["target"], row["id"]].filter((word) => typeof word === "string").join(" ");
    return rest.length === 0 ? [] : [printable([`${title}:`, ...rest.map((line) => `  ${line}`)].join("\n"))];
  });
}

function linesAt(row: Readonly<Record<string, unknown>>, path: string): readonly string[] {
  const text = valueAt(row, path);
  return typeof text === "string" ? text.trimEnd().split("\n") : [];
}

function findingsOf(
  result: Outcome["results"][number],
  { rows, hide }: NonNullable<CliSpec["findings"]>,
): readonly Record<string, unknown>[] {
  const found = valueAt(result, rows);
  if (!Array.isArray(found)) return [];
  const shown = found.filter((row) => !hide.in.includes(String(valueAt(row, hide.value))));
  return shown.map((row) => ({ ...(row as Record<string, unknown>), target: result.name }));
}

function reportCensus(census: Census, { output }: Call): void {
  const text = censusText(census);
  if (census.ok + census.skipped === census.total) output.info(text);
  else output.warn(text);
}

/** The census in words: `3 nodes: 2 ok, 1 unreachable`. */
export function censusText(census: Census): string {
  const named = {
    ok: census.ok,
    failed: census.failed,
    refused: census.refused,
    unreachable: census.unreachable,
    "timed out": census.timedOut,
    skipped: census.skipped,
  };
  const parts = Object.entries(named).filter(([, count]) => count > 0);
  const targets = `${census.total} ${census.total === 1 ? "node" : "nodes"}`;
  return `${targets}: ${parts.length === 0 ? "none" : parts.map(([what, count]) => `${count} ${what}`).join(", ")}`;
}

function warnings(outcome: Outcome, verdict: Verdict | undefined): readonly { name: string; value: string }[] {
  if (!verdict) return [];
  const named = outcome.results.map((result) => ({ name: result.name, value: String(valueAt(result, verdict.value)) }));
  return named.filter(({ value }) => verdict.warned.includes(value) || verdict.failed.includes(value));
}

/**
 * Exit code of a fan-out (DESIGN.md 9): none matched 3, no target answered 4, a failed check 6, any other failure 5.
 * Disabled targets are skipped on purpose and are no failure; when nothing else was selected, none matched.
 */
export function fanOutExitCode({ census, results }: Outcome, verdict?: Verdict): number {
  if (census.total === census.skipped) return EXIT.notFound;
  if (census.ok + census.failed + census.refused === 0) return EXIT.unavailable;
  if (verdict && results.some((result) => verdict.failed.includes(String(valueAt(result, verdict.value)))))
    return EXIT.check;
  return census.ok + census.skipped === census.total ? EXIT.ok : EXIT.failed;
}
