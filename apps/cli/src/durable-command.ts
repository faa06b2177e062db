// SPDX-License-Identifier: Apache-2.0
/**
 * Commands of durable operations (DESIGN.md 6 and 9): check, plan, consent, apply, follow. The plan is asked for before any
 * question, so that a run which ends there is on record as well (REQUIREMENTS X-24).
 */
import { Check, type Mode } from "@debvisor/proto-events/durable";
import type { OperationSpec } from "@debvisor/proto-events/kit";
import type { RegisteredOperation } from "@debvisor/proto-events/registry";
import { DvError } from "@debvisor/shared/errors";
import { z } from "zod";
import { usage } from "./argv.ts";
import { type Call, type CommandSpec, EXIT } from "./command.ts";
import { consent, type Question } from "./confirm.ts";
import { followFlags } from "./follow-flags.ts";
import { privilegeOf, toHttp } from "./from-contract.ts";
import { followOperation, readOperation, reportOutcome, type Seen } from "./operation-follow.ts";
import { LATEST, rollbackLatest, showLatest } from "./operation-latest.ts";
import { checkText, drawChecks, type Facts, planText } from "./operation-text.ts";
import { reportError } from "./program.ts";

/** The server plans, and locks may be contended for a moment: beyond the operation's own limit. */
const SLACK_MS = 5_000;
/** Attempts over all servers. What was agreed to is tried for longer: a server that restarts is back by then. */
const ATTEMPTS: Readonly<Record<Mode, number>> = { check: 4, plan: 4, apply: 6 };

const controls = {
  check: z.boolean().default(false).describe("Only test the prerequisites, say what would happen, change nothing."),
  dryRun: z.boolean().default(false).describe("Only print the plan; change nothing."),
  rollback: z
    .string()
    .optional()
    .describe("Undo instead: the operation with this id, or your latest one of this kind that can be undone."),
  status: z
    .string()
    .optional()
    .describe("Show instead how the operation with this id stands, or your latest one of this kind."),
  ...followFlags,
};

interface Prepared {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly facts?: Facts;
}

/** What a command may make of a durable operation beyond what the contract says. */
export interface Refinement {
  /** Further or other fields of the command line, by key; undefined takes one away. */
  readonly fields?: Readonly<Record<string, z.ZodType | undefined>>;
  readonly labels?: Readonly<Record<string, string>>;
  /** Makes the request's fields of what was typed, and says what the plan cannot. @throws INVALID_ARGUMENT */
  readonly prepare?: (given: Readonly<Record<string, unknown>>, call: Call) => Prepared | Promise<Prepared>;
  /** Says more of an operation that succeeded; may give another exit code than 0. */
  readonly succeeded?: (seen: Seen, call: Call) => number;
  /** Name under which it is shown, where the words are not those of the contract. */
  readonly words?: Pick<CommandSpec, "noun" | "verb" | "args">;
  readonly help?: CommandSpec["help"];
}

/** The command of a durable operation. */
export function durableCommand(
  { service, wire, spec }: Pick<RegisteredOperation, "service" | "wire" | "spec">,
  refinement: Refinement = {},
): CommandSpec {
  const { cli } = spec;
  if (!cli) throw new TypeError("the operation has no command");
  const words = refinement.words ?? { noun: cli.noun, verb: cli.verb, args: cli.args ?? [] };
  const type = `${service}.${wire}`;
  return {
    ...words,
    summary: spec.summary,
    input: inputOf(spec, refinement),
    effect: spec.effect,
    privilege: privilegeOf(spec),
    errors: spec.errors,
    help: helpOf(cli, refinement),
    bare: { wait: "1h", rollback: LATEST, status: LATEST },
    alone: ["rollback", "status"],
    ...(refinement.labels ? { labels: refinement.labels } : {}),
    run: (call) => run({ type, spec, refinement, call, title: titleText(call, words) }),
  };
}

function titleText({ program }: Call, { noun, verb }: Pick<CommandSpec, "noun" | "verb">): string {
  return [program.name, noun, verb ?? ""].filter((word) => word !== "").join(" ");
}

/* `mode` is said by --check and --dry-run, and the digest in `plan` is the command's own business. */
function inputOf(spec: OperationSpec, { fields = {} }: Refinement): z.ZodObject {
  const { mode: _mode, plan: _plan, ...own } = spec.input.shape;
  const all = Object.entries({ ...own, ...fields, ...controls }).filter(([, schema]) => schema !== undefined);
  return z.strictObject(Object.fromEntries(all) as z.ZodRawShape);
}

function helpOf(cli: NonNullable<OperationSpec["cli"]>, { help = cli }: Refinement): CommandSpec["help"] {
  const first = (help.examples[0]?.command ?? "").replace(/ --(confirm|check|dry-run)\b/g, "");
  const start = first.split(/ (?=--)/)[0] ?? first;
  const bare = start.split(" ").filter((word) => !/[0-9/]/.test(word));
  return {
    ...help,
    scenarios: [
      ...(help.scenarios ?? []),
      { command: `${first} --dry-run`, does: "See the ordered plan first." },
      { command: `${first} --check --diff`, does: "Test the prerequisites and see what would be different." },
      { command: `${first} --wait=10m --confirm`, does: "Join the queue when another operation holds a lock." },
      { command: `${bare.join(" ")} --rollback`, does: "Undo your latest one that can be undone." },
    ],
  };
}

interface Run {
  readonly type: string;
  readonly spec: OperationSpec;
  readonly refinement: Refinement;
  readonly call: Call;
  readonly title: string;
}

async function run(the: Run): Promise<number> {
  try {
    return await runOrThrow(the);
  } catch (error) {
    const checks = refusedChecks(error);
    if (checks === undefined) throw error;
    const { output, given } = the.call;
    if (given["check"] === true) {
      output.result({ checks }, () => drawChecks(checks, { color: output.color, nowMs: Date.now() }));
      sayFailed(checks, output);
    } else reportError(error, output);
    return refusalCode(checks);
  }
}

async function runOrThrow(the: Run): Promise<number> {
  const { type, call, title, refinement, spec } = the;
  const { check, dryRun, rollback, status, detach: _d, noProgress: _n, ...given } = call.given;
  if (typeof status === "string") return await showLatest(type, status, call);
  if (typeof rollback === "string") return await rollbackLatest({ type, ref: rollback, title }, call);
  if (check === true && dryRun === true)
    throw usage("--check and --dry-run exclude each other: --check shows the plan too");
  const prepared = await refinement.prepare?.(given, call);
  const fields = prepared?.fields ?? given;
  const facts = prepared?.facts ?? {};
  const ask = (mode: Mode, more: Readonly<Record<string, unknown>> = {}) =>
    submit(spec, { ...fields, ...more }, mode, call);
  if (check === true) return reportCheck(await ask("check"), the, facts);
  const planned = await ask("plan");
  if (dryRun === true) return reportPlan(planned, the, facts);
  const { plan } = planned.operation;
  const refused = failedChecks(planned, call);
  if (refused !== undefined) return refused;
  const isIdle = plan.steps.length === 0 && plan.effects.length === 0;
  const many = plan.targets.length > 1;
  const question = {
    title,
    effect: spec.effect,
    many,
    asks: spec.durable?.asks ?? false,
    lines: planText(title, planned.operation, facts, !many || spec.effect === "destroy"),
    print: () => printSeen(planned, call),
  };
  const stop = isIdle ? undefined : await consent(question, call);
  if (stop !== undefined) return stop;
  const accepted = await ask("apply", bindsPlan(question, call) ? { plan: plan.digest } : {}).catch(
    async (error: unknown) => await planAnew(error, question, call, ask),
  );
  return await finish(accepted, call, refinement.succeeded);
}

/* Where nobody has said yes to the plan, a world that moved within the moment between two requests is planned once more. */
async function planAnew(
  error: unknown,
  question: Question,
  call: Call,
  ask: (mode: Mode, more?: Readonly<Record<string, unknown>>) => Promise<Seen>,
): Promise<Seen> {
  const stale = error instanceof DvError && error.code === "PLAN_STALE";
  if (!stale || saidYes(question, call)) throw error;
  call.output.info("the world has moved since the plan; planned anew");
  const { operation } = await ask("plan");
  return await ask("apply", { plan: operation.plan.digest });
}

/* Who joins the queue waits for what the holder changes: the engine plans anew then. A plan that was said yes to still binds. */
function bindsPlan({ effect, asks = false }: Question, { given, terminal, confirmed }: Call): boolean {
  return given["wait"] === undefined || saidYes({ effect, asks }, { terminal, confirmed });
}

/** Whether somebody looked at the plan on a terminal and said yes to it. */
function saidYes(
  { effect, asks = false }: Pick<Question, "effect" | "asks">,
  { terminal, confirmed }: Pick<Call, "terminal" | "confirmed">,
): boolean {
  return terminal !== undefined && !confirmed && (effect === "destroy" || asks);
}

/** Follows an accepted operation and reports it; with `--detach` only says its id. */
export async function finish(accepted: Seen, call: Call, succeeded?: Refinement["succeeded"]): Promise<number> {
  if (call.input["detach"] === true) {
    call.output.result(accepted.reply.body, () => accepted.operation.id ?? "-", accepted.reply.text);
    return EXIT.ok;
  }
  call.output.debug(`accepted as ${accepted.operation.id}`);
  const end = await followOperation(accepted, call);
  if (end === undefined) return EXIT.interrupted;
  const code = reportOutcome(end, call);
  return code === EXIT.ok && succeeded ? succeeded(end, call) : code;
}

async function submit(
  spec: OperationSpec,
  fields: Readonly<Record<string, unknown>>,
  mode: Mode,
  call: Call,
): Promise<Seen> {
  const request = toHttp(spec, fields);
  try {
    const reply = await call.client().request({
      ...request,
      query: { ...request.query, mode },
      timeoutMs: spec.timeoutMs + SLACK_MS,
      attempts: ATTEMPTS[mode],
      repeats: true,
    });
    return readOperation(reply);
  } catch (error) {
    if (mode === "apply" && call.signal.aborted) {
      call.output.warn("interrupted while it was submitted: dvctl operations list shows whether it began");
    }
    throw error;
  }
}

function reportCheck({ operation, reply }: Seen, { call, title }: Run, facts: Facts): number {
  const { output } = call;
  const style = { color: output.color, nowMs: Date.now() };
  const { plan } = operation;
  const draw = () => [drawChecks(plan.checks, style), planText(title, operation, facts, true).join("\n")].join("\n\n");
  output.result(reply.body, draw, reply.text);
  const code = checkCode(plan.checks, plan.targets);
  if (code === EXIT.ok) output.info("every prerequisite is met; nothing changed");
  else sayFailed(plan.checks, output);
  return code;
}

function sayFailed(checks: readonly Check[], output: Call["output"]): void {
  const failed = checks.filter(({ status }) => status === "failed").length;
  output.error(
    failed === 0
      ? "no target answers; nothing changed"
      : `${failed} of ${checks.length} checks failed; nothing changed`,
  );
}

function reportPlan(seen: Seen, { call, title }: Run, facts: Facts): number {
  const { operation, reply } = seen;
  call.output.result(reply.body, () => planText(title, operation, facts, true).join("\n"), reply.text);
  for (const check of operation.plan.checks.filter(({ status }) => status !== "passed"))
    call.output.warn(checkText(check));
  call.output.info("nothing changed");
  return EXIT.ok;
}

function printSeen({ reply }: Seen, { output }: Call): void {
  output.result(reply.body, () => "", reply.text);
}

/* Applying would be refused: all of it is said at once, and nobody is asked for a yes. */
function failedChecks({ operation }: Seen, { output }: Call): number | undefined {
  const { targets } = operation.plan;
  const checks = operation.plan.checks.filter(({ id }) => !isLimit(id));
  const code = checkCode(checks, targets);
  if (code === EXIT.ok) return undefined;
  for (const check of checks.filter(({ status }) => status === "failed")) output.error(checkText(check));
  output.error(`${code === EXIT.unavailable ? "no target answers" : "a prerequisite is not met"}; nothing changed`);
  return code;
}

/** Maintenance and limits are not for the command to judge: applying is refused with a code of its own, and recorded as that. */
function isLimit(id: string): boolean {
  return id === "maintenance" || id.startsWith("limit.");
}

/** Exit code of checks: 4 when no target answers, 6 when any other one failed. */
export function checkCode(
  checks: readonly Check[],
  targets: readonly { readonly name: string; readonly state: string }[],
): number {
  const failed = checks.filter(({ status }) => status === "failed");
  const away = new Set(failed.filter(({ id }) => id === ANSWERS).map(({ target }) => target));
  const asked = targets.filter(({ state }) => state !== "skipped");
  const answering = asked.filter(({ name, state }) => state !== "unreachable" && !away.has(name));
  if (asked.length > 0 && answering.length === 0) return EXIT.unavailable;
  return failed.length > 0 ? EXIT.check : EXIT.ok;
}

/** The check that a target answers (contract `Check`). */
const ANSWERS = "target.answers";

/* What failed, and what did not, where the answer is an error that names the checks. */
function refusedChecks(error: unknown): readonly Check[] | undefined {
  if (!(error instanceof DvError) || error.code !== "CHECK_FAILED") return undefined;
  const checks = z.array(Check).safeParse(error.details?.["checks"]);
  return checks.success && checks.data.some(({ status }) => status === "failed") ? checks.data : undefined;
}

function refusalCode(checks: readonly Check[]): number {
  const failed = checks.filter(({ status }) => status === "failed");
  return failed.every(({ id }) => id === ANSWERS) ? EXIT.unavailable : EXIT.check;
}
