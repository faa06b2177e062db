// SPDX-License-Identifier: Apache-2.0
/** Operations as people read them: checks, the plan, the outcome, the whole record. Pure text; who prints it is elsewhere. */
import type { Check, Operation, Plan, PlannedEffect } from "@debvisor/proto-events/durable";
import { printable } from "@debvisor/shared/output";
import { renderTable, type TableStyle, toned } from "@debvisor/shared/table";
import { formatDuration } from "@debvisor/shared/units";

/** Names that a summary shows before it counts the rest (REQUIREMENTS X-12). */
const SHOWN_NAMES = 5;
/** Effects and steps that a summary shows. */
const SHOWN_LINES = 10;

/** What the plan itself does not say: a line each, such as the checksum of a file's content. */
export type Facts = Readonly<Record<string, string>>;

/** `node-2 target.reachable failed: node-2 does not answer (look at its console)`. */
export function checkText({ target, id, status, message, hint }: Check): string {
  const subject = [target ?? "cluster", id, status].join(" ");
  return `${subject}: ${message}${hint === null ? "" : ` (${hint})`}`;
}

/** Every prerequisite that was looked at, as a table. */
export function drawChecks(checks: readonly Check[], style: TableStyle): string {
  const columns = [
    { heading: "STATUS", value: "status" },
    { heading: "TARGET", value: "target" },
    { heading: "CHECK", value: "id" },
    { heading: "MESSAGE", value: "message" },
    { heading: "WHAT TO DO", value: "hint" },
  ];
  if (checks.length === 0) return "no prerequisites";
  return renderTable(
    columns,
    checks.map((check) => ({ ...check, target: check.target ?? "cluster" })),
    style,
  );
}

/** The names of targets: all of them, or in a summary the first five "and N more". */
export function namesText(names: readonly string[], whole = false): string {
  const shown = whole ? names : names.slice(0, SHOWN_NAMES);
  const rest = names.length - shown.length;
  return shown.join(", ") + (rest > 0 ? ` and ${rest} more` : "");
}

/** The plan, whole or as a summary. */
export function planText(title: string, operation: Operation, facts: Facts, whole: boolean): readonly string[] {
  const { plan, reason, override } = operation;
  return [
    `Plan: ${title}`,
    ...targetLines(plan, whole),
    ...Object.entries(facts).map(([key, value]) => `  ${key}: ${value}`),
    ...effectLines(plan, whole),
    ...stepLines(plan, whole),
    `  undo: ${plan.undo}`,
    ...(reason === null ? [] : [`  reason: ${reason}`]),
    ...(override === null ? [] : [`  override: ${override}`]),
    `  digest: ${plan.digest}`,
  ].map(printable);
}

function targetLines({ targets }: Plan, whole: boolean): readonly string[] {
  if (targets.length === 0) return ["  target: the cluster"];
  const names = namesText(
    targets.map(({ name }) => name),
    whole,
  );
  const head = targets.length === 1 ? `  target: ${names}` : `  targets: ${targets.length}: ${names}`;
  const odd = (["unchanged", "unreachable", "skipped"] as const).flatMap((state) => {
    const found = targets.filter((target) => target.state === state).map(({ name }) => name);
    return found.length === 0 ? [] : [`  ${state}: ${found.length}: ${namesText(found, whole)}`];
  });
  return [head, ...odd];
}

function effectLines({ effects, targets }: Plan, whole: boolean): readonly string[] {
  const isDone = targets.every(({ state }) => state === "unchanged");
  if (effects.length === 0) return [`  effects: none${isDone ? ", everything is as asked already" : ""}`];
  const { shown, rest } = cut(effects, whole);
  return ["  effects:", ...shown.flatMap(effectText), ...rest.map((line) => `    ${line}`)];
}

function effectText({ target, what, before, after, diff }: PlannedEffect): readonly string[] {
  const head = `    ${target ?? "cluster"}  ${what}: ${before ?? "nothing"} → ${after ?? "nothing"}`;
  const lines = diff === null ? [] : diff.trimEnd().split("\n");
  return [head, ...lines.map((line) => `      ${line}`)];
}

function stepLines({ steps }: Plan, whole: boolean): readonly string[] {
  if (steps.length === 0) return [];
  const { shown, rest } = cut(steps, whole);
  const lines = shown.map(({ title, target }, i) => `    ${i + 1}. ${target ?? "cluster"}  ${title}`);
  return ["  steps:", ...lines, ...rest.map((line) => `    ${line}`)];
}

function cut<T>(list: readonly T[], whole: boolean): { shown: readonly T[]; rest: readonly string[] } {
  if (whole || list.length <= SHOWN_LINES) return { shown: list, rest: [] };
  return { shown: list.slice(0, SHOWN_LINES), rest: [`and ${list.length - SHOWN_LINES} more`] };
}

/** How an operation ended or stands: one line, then its targets when there are several, then its steps when asked for. */
export function drawOutcome(operation: Operation, style: TableStyle, withSteps: boolean): string {
  const { targets, steps } = operation;
  const parts = [headline(operation, style)];
  if (targets.length > 1) parts.push(drawTargets(operation, style));
  if (withSteps && steps.length > 0) parts.push(drawSteps(operation, style));
  return parts.join("\n\n");
}

/** `op-…  host.put-file on node-1, node-2  succeeded in 1.2s: no change`. */
export function headline(operation: Operation, { color }: TableStyle): string {
  const { id, type, state, targets, changed, createdAt, endedAt } = operation;
  const where = targets.length === 0 ? "" : ` on ${namesText(targets.map(({ name }) => name))}`;
  const ms = createdAt !== null && endedAt !== null ? Date.parse(endedAt) - Date.parse(createdAt) : undefined;
  // Of one that was undone later, the time between says nothing.
  const took = ms === undefined || state === "rolled-back" ? "" : ` in ${formatDuration(ms)}`;
  const same = state === "succeeded" && changed === false ? ": no change" : "";
  return `${id ?? "-"}  ${printable(`${type}${where}`)}  ${toned(state, color)}${took}${same}`;
}

function drawTargets({ targets }: Operation, style: TableStyle): string {
  const failed = targets.some(({ error }) => error !== null);
  const columns = [
    { heading: "NODE", value: "name" },
    { heading: "STATUS", value: "status" },
    ...(failed ? [{ heading: "ERROR", value: "error.message" }] : []),
  ];
  return renderTable(columns, targets, style);
}

function drawSteps({ steps }: Operation, style: TableStyle): string {
  const failed = steps.some(({ error }) => error !== null);
  const columns = [
    { heading: "STEP", value: "title" },
    { heading: "TARGET", value: "target" },
    { heading: "STATE", value: "state" },
    { heading: "ATTEMPTS", value: "attempts" },
    { heading: "TIME", value: "ms", as: "duration" as const },
    ...(failed ? [{ heading: "ERROR", value: "error.message" }] : []),
  ];
  return renderTable(
    columns,
    steps.map((step) => ({ ...step, target: step.target ?? "cluster" })),
    style,
  );
}

/** The whole record: what was asked, by whom, how far it is, every target, step and effect. */
export function drawOperation(operation: Operation, style: TableStyle): string {
  const parts = [
    [headline(operation, style), ...recordLines(operation)].join("\n"),
    ...(operation.targets.length > 0 ? [drawTargets(operation, style)] : []),
    ...(operation.steps.length > 0 ? [drawSteps(operation, style)] : []),
    ["Effects", ...effectLines(operation.plan, true).slice(1), `  undo: ${operation.plan.undo}`]
      .map(printable)
      .join("\n"),
  ];
  return parts.join("\n\n");
}

function recordLines(operation: Operation): readonly string[] {
  const { progress, owner, error } = operation;
  const rate = progress.ratePerMinute === null ? "" : `, ${Math.round(progress.ratePerMinute)} a minute`;
  const fields: readonly (readonly [string, string | null])[] = [
    ["by", [operation.actor, operation.user, operation.source].filter((part) => part !== null).join(", ")],
    ["reason", operation.reason],
    ["override", operation.override],
    ["created", operation.createdAt],
    ["started", operation.startedAt],
    ["ended", operation.endedAt],
    ["deadline", operation.endedAt === null ? operation.deadlineAt : null],
    ["progress", `${Math.floor(progress.percent)} %, ${progress.done} of ${progress.total} steps${rate}`],
    ["owner", owner === null ? null : `${owner.instance}, epoch ${owner.epoch}`],
    ["waits for", operation.waitsFor],
    ["error", error === null ? null : `${error.message} (${error.code})`],
    ["repair", operation.repair],
    ["result", operation.result === null ? null : JSON.stringify(operation.result)],
    ["changed", operation.changed === null ? null : operation.changed ? "yes" : "no"],
    ["undoable", operation.undoable ? `yes: dvctl operations rollback ${operation.id}` : "no"],
    ["plan", operation.plan.digest],
    ["revision", String(operation.revision)],
  ];
  return fields.flatMap(([key, value]) => (value === null ? [] : [printable(`  ${key}: ${value}`)]));
}

/** The step that runs, or what is waited for: `node-2: write /etc/motd`. */
export function currentStep({ steps, waitsFor }: Operation): string {
  if (waitsFor !== null) return `waits for ${waitsFor}`;
  const step = steps.find(({ state }) => state === "running" || state === "undoing");
  return step === undefined ? "" : `${step.target ?? "cluster"}: ${step.title}`;
}
