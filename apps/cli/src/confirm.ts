// SPDX-License-Identifier: Apache-2.0
/**
 * Consent before an effect (REQUIREMENTS ). What destroys is planned and asked for on a terminal, refused without
 * one; a change of several targets shows its plan and wants `--confirm`; a change of one target runs as typed, unless its
 * kind asks on a terminal.
 */

import { styleText } from "node:util";
import type { Effect } from "@debvisor/proto-events/kit";
import { type Call, EXIT } from "./command.ts";

/** What is about to happen. */
export interface Plan {
  readonly title: string;
  readonly effect: Effect;
  readonly targets: readonly string[];
  readonly perNode: boolean;
  readonly input: Readonly<Record<string, unknown>>;
  readonly changes: string | undefined;
  readonly undo: string | undefined;
}

/** What consent needs of a call. */
export type ConfirmCall = Pick<Call, "output" | "signal"> & {
  readonly confirmed: boolean;
  readonly terminal: Call["terminal"];
};

/** Undefined when the command may go on, otherwise the exit code with which it ends without effect. */
export async function confirm(plan: Plan, call: ConfirmCall): Promise<number | undefined> {
  const { title, effect } = plan;
  return await consent({ title, effect, many: hasManyTargets(plan), lines: planLines(plan) }, call);
}

function hasManyTargets({ perNode, targets }: Plan): boolean {
  const selection = targets.at(-1) ?? "";
  return perNode && /[,=~]|^all$/.test(selection);
}

/** What is asked for. */
export interface Question {
  readonly title: string;
  readonly effect: Effect;
  /** Several targets are touched. */
  readonly many: boolean;
  /** Ask on a terminal although it is the change of one target; without a terminal it runs as typed. */
  readonly asks?: boolean;
  /** The plan, as people read it. */
  readonly lines: readonly string[];
  /** The summary for programs; default: the lines. */
  readonly print?: () => void;
}

/** Undefined when the command may go on, otherwise the exit code with which it ends without effect. */
export async function consent(question: Question, call: ConfirmCall): Promise<number | undefined> {
  const { title, effect, many, asks = false, lines } = question;
  if (effect === "read" || call.confirmed) return undefined;
  if (effect === "change" && many) return summarise(question, call);
  if (effect === "change" && !(asks && call.terminal)) return undefined;
  if (!call.terminal) {
    call.output.error(`${title} needs --confirm when no terminal is there to ask; nothing changed`);
    return EXIT.usage;
  }
  for (const line of lines) call.terminal.stderr.write(`${line}\n`);
  const answer = call.signal.aborted ? undefined : await ask(call.terminal);
  const isInterrupted = answer === undefined || call.signal.aborted;
  if (answer === "yes" && !isInterrupted) return undefined;
  call.output.info("nothing changed");
  return isInterrupted ? EXIT.interrupted : EXIT.general;
}

function summarise({ lines, print }: Question, { output }: ConfirmCall): number {
  if (print && output.format !== "table") print();
  else
    for (const line of lines) output.line(output.color ? styleText("yellow", line, { validateStream: false }) : line);
  output.info("nothing changed, add --confirm");
  return EXIT.ok;
}

/** The plan as people read it. */
export function planLines(plan: Plan): readonly string[] {
  const other = Object.entries(plan.input).filter(([, value]) => !plan.targets.includes(String(value)));
  return [
    `Plan: ${plan.title}`,
    `  target: ${plan.targets.join(", ") || "the cluster"}`,
    ...other.map(([key, value]) => `  ${key}: ${Array.isArray(value) ? value.join(", ") : String(value)}`),
    ...(plan.changes ? [`  changes: ${plan.changes}`] : []),
    ...(plan.undo ? [`  undo: ${plan.undo}`] : []),
  ];
}

/*
 * A plain line instead of @clack/prompts, which draws one character per line on a terminal that reports no width, as serial
 * consoles do (seen with 1.9.0). Undefined after Ctrl-C; the end of input is an empty answer.
 */
async function ask({ stdin, stderr }: NonNullable<Call["terminal"]>): Promise<string | undefined> {
  const { createInterface } = await import("node:readline");
  const lines = createInterface({ input: stdin, output: stderr, terminal: true });
  try {
    return await new Promise((resolve) => {
      lines.once("SIGINT", () => resolve(undefined));
      lines.once("close", () => resolve(""));
      lines.question("Type yes to go on: ", (answer) => resolve(answer.trim()));
    });
  } finally {
    lines.close();
  }
}
