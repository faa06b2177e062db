// SPDX-License-Identifier: Apache-2.0
/** How an operation and each of its targets ended, from its log. Pure. */
import type { OperationState, TargetOutcome } from "@debvisor/proto-events/durable";
import type { WireError } from "@debvisor/proto-events/replies";
import { DvError } from "../errors.ts";
import type { Folded, StepStatus } from "./fold.ts";
import { groupsOf } from "./schedule.ts";

type Status = TargetOutcome["status"];

/** True when a failure undoes all of it: one target, or the cluster as a whole. Targets of many stand each for itself. */
export function wholeIsUndone(folded: Folded): boolean {
  return folded.created.plan.targets.length <= 1 || groupsOf(folded).every(({ target }) => target === null);
}

/** How each target stands. Once it has ended, what was not begun was skipped. */
export function outcomesOf(folded: Folded, hasEnded = folded.endedAt !== null): TargetOutcome[] {
  return folded.created.plan.targets.map(({ id, name, state }) => {
    const fixed = state === "change" ? undefined : state;
    const statuses = folded.created.steps
      .filter(({ target }) => target === id)
      .map((step) => folded.steps.get(step.id))
      .filter((status) => status !== undefined);
    const broken = statuses.find(({ error, undoError, state: at }) => (undoError ?? error) !== null && at !== "done");
    const error = broken?.undoError ?? broken?.error ?? null;
    return { id, name, status: fixed ?? statusOf(statuses, error, hasEnded), error };
  });
}

function statusOf(statuses: readonly StepStatus[], error: WireError | null, ended: boolean): Status {
  const has = (...states: StepStatus["state"][]) => statuses.some(({ state }) => states.includes(state));
  if (statuses.every(({ state }) => state === "done")) return "ok";
  if (has("undo-failed")) return "stuck";
  if (has("failed")) return error?.code === "UNAVAILABLE" ? "unreachable" : "failed";
  if (has("undone")) return error === null ? "undone" : "failed";
  if (has("running", "undoing")) return "running";
  return ended ? "skipped" : "pending";
}

/**
 * Steps that stay as they are because a later one, which cannot be undone, may have run: one of their group, or one of the cluster as
 * a whole, which rests on all that is before it.
 */
export function sealedSteps(folded: Pick<Folded, "created" | "steps">): ReadonlySet<string> {
  const sealing = sealingSteps(folded);
  const before = (steps: readonly string[], isLast: (id: string) => boolean) =>
    steps.slice(0, Math.max(0, steps.findLastIndex(isLast)));
  const all = folded.created.steps;
  const ofCluster = new Set(all.filter(({ id, target }) => target === null && sealing.has(id)).map(({ id }) => id));
  return new Set([
    ...groupsOf(folded).flatMap(({ steps }) => before(steps, (id) => sealing.has(id))),
    ...before(
      all.map(({ id }) => id),
      (id) => ofCluster.has(id),
    ),
  ]);
}

/** True once a step may have run after which there is no way back: what is asked to stop goes on to its end. */
export function isSealed(folded: Pick<Folded, "created" | "steps">): boolean {
  return sealingSteps(folded).size > 0;
}

function sealingSteps({ created, steps }: Pick<Folded, "created" | "steps">): ReadonlySet<string> {
  const mayHaveRun = (id: string) => {
    const status = steps.get(id);
    return status?.state === "done" || (status?.ran === true && status.state !== "pending");
  };
  return new Set(created.steps.filter(({ id, seals }) => seals && mayHaveRun(id)).map(({ id }) => id));
}

/** True when something was done that cannot be undone. */
function remains(folded: Folded): boolean {
  return folded.created.steps.some(({ id, undoable }) => {
    const status = folded.steps.get(id);
    return !undoable && status?.ran === true && status.state !== "pending";
  });
}

/** The state in which an operation ends once nothing is left to do. */
export function endOf(folded: Folded): { readonly state: OperationState; readonly error: WireError | null } {
  // What failed on some of many targets ends as it would have without the trouble of undoing it.
  if (folded.undoing && folded.endAfterUndo !== null && folded.endAfterUndo !== "failed") {
    const undone = folded.endAfterUndo === "rolled-back" && remains(folded) ? "failed" : folded.endAfterUndo;
    return { state: undone, error: folded.error };
  }
  const outcomes = outcomesOf(folded, true);
  const bad = outcomes.filter(({ status }) => !["ok", "unchanged"].includes(status));
  const skippedOnPurpose = folded.created.plan.targets.filter(({ state }) => state === "skipped").length;
  if (bad.length - skippedOnPurpose <= 0 && bad.every(({ status }) => status === "skipped")) {
    return { state: "succeeded", error: null };
  }
  const good = outcomes.length - bad.length;
  const unreachable = bad.every(({ status }) => status === "unreachable" || status === "skipped");
  if (good === 0 && unreachable) {
    const names = bad.filter(({ status }) => status === "unreachable").map(({ name }) => name);
    return { state: "failed", error: new DvError("UNAVAILABLE", `No target answered: ${names.join(", ")}.`).toWire() };
  }
  const failed = bad.filter(({ status }) => status !== "skipped");
  const message = `${failed.length} of ${outcomes.length} targets failed: ${failed.map(({ name }) => name).join(", ")}.`;
  const state = good > 0 || remains(folded) ? "failed" : "rolled-back";
  return { state, error: new DvError("STEP_FAILED", message).toWire() };
}

/** True when a rollback has something to undo. */
export function isUndoable(folded: Folded): boolean {
  if (!folded.endedAt || !["succeeded", "failed"].includes(folded.state)) return false;
  const sealed = sealedSteps(folded);
  return folded.created.steps.some(
    ({ id, undoable }) => undoable && !sealed.has(id) && folded.steps.get(id)?.state === "done",
  );
}
