// SPDX-License-Identifier: Apache-2.0
/**
 * From a definition's draft to the plan that is shown, digested and logged: choice of targets by sample, limits per failure
 * domain, digests. Pure, except for the sizes of what it is given.
 */
import { createHash } from "node:crypto";
import type { OperationOptions, Plan, PlannedTarget } from "@debvisor/proto-events/durable";
import { DvError } from "../errors.ts";
import type { Definition, Draft, LoggedStep, PlannedStep } from "./definition.ts";

/** A plan with what only the engine needs. */
export interface FullPlan {
  readonly plan: Plan;
  readonly steps: readonly LoggedStep[];
  readonly resources: readonly string[];
  readonly touches: readonly string[];
  /** Milliseconds that its steps wait on purpose. */
  readonly waitsMs: number;
}

/** JSON with sorted keys, so that equal values have equal text. */
export function stableJson(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    item !== null && typeof item === "object" && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}

export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Completes a draft. Targets that the sample leaves out are `skipped`, with their steps and effects. @throws NO_TARGETS */
export function completePlan(draft: Draft, options: OperationOptions, kinds: Definition<never>["steps"]): FullPlan {
  const targets = sampleTargets(draft.targets, options);
  const left = new Set(targets.filter(({ state }) => state !== "change").map(({ id }) => id));
  const leftNames = new Set(targets.filter(({ state }) => state === "skipped").map(({ name }) => name));
  const steps = draft.steps.filter(({ target }) => target === null || !left.has(target));
  const effects = draft.effects.filter(({ target }) => target === null || !leftNames.has(target));
  checkSteps(draft, steps);
  const names = new Map(targets.map(({ id, name }) => [id, name]));
  const shownSteps = steps.map(({ id, title, target }) => ({
    id,
    title,
    target: target === null ? null : (names.get(target) ?? target),
  }));
  const ids = targets.map(({ id }) => id).sort();
  const digest = sha256(
    stableJson({
      targets: targets.map(({ id, state }) => [id, state]),
      steps,
      effects: effects.map(({ diff: _diff, ...effect }) => effect),
      basis: draft.basis,
    }),
  );
  return {
    plan: {
      digest,
      targetDigest: sha256(ids.join("\n")),
      targets: [...targets],
      steps: shownSteps,
      effects: [...effects],
      checks: [...draft.checks],
      undo: draft.undo,
    },
    steps: steps.map((step) => ({
      ...step,
      undoable: kinds[step.kind]?.undo !== "never",
      seals: kinds[step.kind]?.seals ?? false,
    })),
    resources: [...new Set(draft.resources)].sort(),
    touches: draft.touches ?? ids,
    waitsMs: draft.waitsMs ?? 0,
  };
}

/** A mistake of the definition's author, found before anything is done. */
function checkSteps(draft: Draft, steps: readonly PlannedStep[]): void {
  const ids = new Set(steps.map(({ id }) => id));
  const known = new Set(draft.targets.map(({ id }) => id));
  const wrong = steps.find(
    ({ target, resource }) =>
      (target !== null && !known.has(target)) || (resource !== null && !draft.resources.includes(resource)),
  );
  if (ids.size !== steps.length || wrong)
    throw new DvError("INTERNAL", `The plan contradicts itself at step ${wrong?.id ?? "(an id that occurs twice)"}.`);
}

/** The same seed takes the same targets, whatever their order was: each gets a number from seed and id. */
function sampleTargets(
  targets: readonly PlannedTarget[],
  { sample, seed }: OperationOptions,
): readonly PlannedTarget[] {
  const eligible = targets.filter(({ state }) => state === "change");
  if (sample === 0 || eligible.length <= sample) return targets;
  const lot = ({ id }: PlannedTarget) => sha256(`${seed}\n${id}`);
  const drawn = new Set([...eligible].sort((a, b) => (lot(a) < lot(b) ? -1 : 1)).slice(0, sample));
  return targets.map((target) =>
    target.state === "change" && !drawn.has(target) ? { ...target, state: "skipped" as const } : target,
  );
}

/** Refuses a plan that touches more targets of a failure domain than its kind allows. @throws BLAST_RADIUS_EXCEEDED */
export function checkBlastRadius(plan: Plan, most: number | undefined, override: string | undefined): void {
  if (most === undefined || override !== undefined) return;
  const domains = new Map<string, string[]>();
  for (const { name, zone, state } of plan.targets) {
    if (state !== "change") continue;
    const domain = zone ?? "(no zone)";
    domains.set(domain, [...(domains.get(domain) ?? []), name]);
  }
  const over = [...domains].filter(([, names]) => names.length > most);
  if (over.length === 0) return;
  const [[domain, names] = ["", []]] = over;
  throw new DvError(
    "BLAST_RADIUS_EXCEEDED",
    `It would touch ${names.length} targets of failure domain ${domain} (${names.join(", ")}); at most ${most} are allowed without an override.`,
    { details: { most, domains: Object.fromEntries(over) } },
  );
}

/** Longest plan in bytes of JSON; with its input it has to fit into one message of the bus. */
const MOST_PLAN_BYTES = 512 * 1024;

/** Refuses a plan that no record could hold. @throws REQUEST_TOO_LARGE */
export function checkSize({ plan, steps }: FullPlan): void {
  const bytes = Buffer.byteLength(JSON.stringify(plan)) + Buffer.byteLength(JSON.stringify(steps));
  if (bytes <= MOST_PLAN_BYTES) return;
  throw new DvError(
    "REQUEST_TOO_LARGE",
    `The plan for ${plan.targets.length} targets takes ${bytes} bytes, of which ${MOST_PLAN_BYTES} are allowed; select fewer.`,
  );
}

/** Refuses when as many were accepted within the last hour as are allowed. @throws BUDGET_SPENT */
export function checkBudget(type: string, spent: number, most: number | undefined, override: string | undefined): void {
  if (most === undefined || override !== undefined || spent < most) return;
  throw new DvError(
    "BUDGET_SPENT",
    `${spent} operations ${type} were accepted within the last hour; ${most} are allowed.`,
    {
      details: { most, spent },
    },
  );
}

/** Refuses a trial of what could not be undone. @throws INVALID_ARGUMENT */
export function checkTrial({ steps }: FullPlan, trial: string | undefined): void {
  if (trial === undefined || steps.every(({ undoable }) => undoable)) return;
  throw new DvError("INVALID_ARGUMENT", "try: this operation cannot be undone, so it cannot be tried.");
}

/** Refuses when a prerequisite is not met. @throws CHECK_FAILED naming every one */
export function requireChecks(plan: Plan): void {
  const failed = plan.checks.filter(({ status }) => status === "failed");
  const [first] = failed;
  if (!first) return;
  const more = failed.length > 1 ? ` (and ${failed.length - 1} more)` : "";
  throw new DvError("CHECK_FAILED", `${first.target === null ? "" : `${first.target}: `}${first.message}${more}`, {
    details: { checks: plan.checks, ...(first.hint === null ? {} : { hint: first.hint }) },
  });
}

/** Refuses when the world is not as it was when the caller looked at the plan. @throws PLAN_STALE */
export function requireDigest(plan: Plan, digest: string | undefined): void {
  if (digest === undefined || digest === plan.digest) return;
  throw new DvError("PLAN_STALE", "What the plan was made from has changed since; make it again and look at it.", {
    details: { asked: digest, now: plan.digest },
  });
}
