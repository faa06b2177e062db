// SPDX-License-Identifier: Apache-2.0
/**
 * Which targets are worked on next. Pure. Steps of one target run in order; targets run beside each other, within the limits of
 * canary, batch, concurrency and failures. A step without target stands alone: what is before it ends first.
 */
import type { OperationOptions } from "@debvisor/proto-events/durable";
import type { Folded, StepStatus } from "./fold.ts";

/** The steps of one target that stand together in the plan, in order. */
export interface Group {
  readonly key: string;
  readonly target: string | null;
  readonly steps: readonly string[];
}

/** How a group stands. `failed`: a step failed and those before it are undone, or have to be. */
export type GroupState = "pending" | "running" | "done" | "failed" | "skipped";

/** Groups in the order of the plan. */
export function groupsOf({ created }: Pick<Folded, "created">): readonly Group[] {
  const groups: { key: string; target: string | null; steps: string[] }[] = [];
  for (const { id, target } of created.steps) {
    const last = groups.at(-1);
    if (last && target !== null && last.target === target) last.steps.push(id);
    else groups.push({ key: id, target, steps: [id] });
  }
  return groups;
}

function statusOf(folded: Folded, step: string): StepStatus | undefined {
  return folded.steps.get(step);
}

/** How a group stands, by its steps. */
export function groupState(folded: Folded, group: Group): GroupState {
  const states = group.steps.map((step) => statusOf(folded, step)?.state ?? "pending");
  if (states.every((state) => state === "done")) return "done";
  if (states.some((state) => ["failed", "undoing", "undone", "undo-failed"].includes(state))) return "failed";
  if (states.every((state) => state === "skipped")) return "skipped";
  return states.some((state) => state !== "pending") ? "running" : "pending";
}

/**
 * Groups that may be worked on now, besides those in `busy`. Empty with nothing busy: the way forward has ended. What an owner
 * before this one has begun goes first, and goes on whatever has failed meanwhile: nothing is left half done.
 */
export function nextGroups(folded: Folded, options: OperationOptions, busy: ReadonlySet<string>): readonly Group[] {
  const groups = groupsOf(folded);
  const states = new Map(groups.map((group) => [group.key, groupState(folded, group)]));
  // Targets that were away when the plan was made do not count: whoever selects many knows that some are.
  const failed = [...states.values()].filter((state) => state === "failed").length;
  const alone = (group: Group) => group.target === null;
  const most = groups.filter((group) => !alone(group)).length > 1 ? options.concurrency : 1;
  const idle = (wanted: GroupState) => groups.filter(({ key }) => states.get(key) === wanted && !busy.has(key));
  const begun = new Set(idle("running"));
  const fresh = failed >= options.stopAfter ? [] : idle("pending");
  const chosen: Group[] = [];
  for (const group of [...begun, ...fresh]) {
    const running = busy.size + chosen.length;
    const blocked = alone(group) ? running > 0 : running >= most;
    if (blocked || !(begun.has(group) || mayBegin(groups, group, states, options))) break;
    chosen.push(group);
    if (alone(group)) break;
  }
  return chosen;
}

/** Canaries go first; a batch begins when the one before has ended. Each must have gone well only for canaries. */
function mayBegin(
  groups: readonly Group[],
  group: Group,
  states: ReadonlyMap<string, GroupState>,
  { canary, batch }: OperationOptions,
): boolean {
  const targeted = groups.filter(({ target }) => target !== null);
  const index = targeted.indexOf(group);
  const ended = (others: readonly Group[]) =>
    others.every(({ key }) => ["done", "failed", "skipped"].includes(states.get(key) ?? ""));
  // What has no target and comes before in the plan has to be done.
  const barriers = groups.slice(0, groups.indexOf(group)).filter(({ target }) => target === null);
  if (!barriers.every(({ key }) => states.get(key) === "done")) return false;
  if (group.target === null) return ended(groups.slice(0, groups.indexOf(group)));
  if (index < canary) return true;
  const canaries = targeted.slice(0, canary);
  if (!canaries.every(({ key }) => states.get(key) === "done")) return false;
  if (batch === 0) return true;
  const begin = canary + Math.floor((index - canary) / batch) * batch;
  return ended(targeted.slice(canary, begin));
}
