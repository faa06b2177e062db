// SPDX-License-Identifier: Apache-2.0
/** An operation as everybody sees it, made from its log; and why one waits. Pure. */
import {
  FINAL_STATES,
  type Operation,
  type OperationOptions,
  type Plan,
  type Progress,
  type Step,
} from "@debvisor/proto-events/durable";
import type { Lock, OperationSummary, Wait } from "@debvisor/proto-events/operation";
import type { WireError } from "@debvisor/proto-events/replies";
import type { Definition } from "./definition.ts";
import { isUndoable, outcomesOf } from "./ending.ts";
import type { Folded } from "./fold.ts";
import type { RunnerView } from "./runner.ts";

const ENDED_STEPS = new Set(["done", "failed", "undone", "undo-failed", "skipped"]);

/** The full record. */
export function operationView(folded: Folded): Operation {
  const { created } = folded;
  const names = new Map(created.plan.targets.map(({ id, name }) => [id, name]));
  return {
    id: created.operation,
    type: created.type,
    version: created.version,
    state: folded.state,
    mode: "apply",
    targets: outcomesOf(folded),
    plan: created.plan,
    progress: progressOf(folded),
    steps: created.steps.map((step) => stepView(folded, step, names)),
    result: folded.result,
    changed: folded.changed,
    error: errorOf(folded),
    actor: created.actor,
    user: created.user,
    source: created.source,
    reason: created.options.reason ?? null,
    override: created.options.override ?? null,
    priority: created.options.priority,
    requestId: created.requestId,
    owner: folded.endedAt ? null : { instance: folded.owner, epoch: folded.epoch },
    waitsFor: waitsFor(folded),
    undoable: isUndoable(folded),
    repair: repairOf(folded),
    revision: folded.seq,
    createdAt: created.at,
    startedAt: folded.startedAt,
    updatedAt: folded.updatedAt,
    endedAt: folded.endedAt,
    deadlineAt: created.deadlineAt,
  };
}

/** What a reader has to know now: why it is stuck, or why it was undone. */
function errorOf({ state, stuckError, error }: Folded): WireError | null {
  return state === "stuck" ? (stuckError ?? error) : error;
}

function stepView(
  folded: Folded,
  { id, title, target }: { readonly id: string; readonly title: string; readonly target: string | null },
  names: ReadonlyMap<string, string>,
): Step {
  const status = folded.steps.get(id);
  return {
    id,
    title,
    target: target === null ? null : (names.get(target) ?? target),
    state: status?.state ?? "pending",
    attempts: status?.attempts ?? 0,
    startedAt: status?.startedAt ?? null,
    ms: status?.ms ?? null,
    error: status?.undoError ?? status?.error ?? null,
  };
}

/** The line of a list. */
export function summaryOf(operation: Operation): OperationSummary {
  const { type, state, progress, changed, error, actor, user, reason, waitsFor: waits, undoable } = operation;
  const { createdAt, updatedAt, endedAt } = operation;
  return {
    id: operation.id ?? "",
    type,
    state,
    progress,
    changed,
    error,
    actor,
    user,
    reason,
    waitsFor: waits,
    undoable,
    createdAt,
    updatedAt,
    endedAt,
    targets: operation.targets.map(({ name }) => name),
  };
}

/** The answer to mode `check` and `plan`, of which no record is kept. */
export function plannedView(
  definition: Definition<never>,
  plan: Plan,
  options: OperationOptions,
  who: Pick<Operation, "actor" | "user" | "source" | "requestId">,
): Operation {
  return {
    id: null,
    type: definition.type,
    version: definition.spec.durable?.version ?? 1,
    state: options.mode === "check" ? "checked" : "planned",
    mode: options.mode,
    targets: plan.targets.map(({ id, name, state }) => ({
      id,
      name,
      status: state === "change" ? ("pending" as const) : state,
      error: null,
    })),
    plan,
    progress: { percent: 0, done: 0, total: plan.steps.length, ratePerMinute: null, etaSeconds: null },
    steps: plan.steps.map((step) => ({
      ...step,
      state: "pending",
      attempts: 0,
      startedAt: null,
      ms: null,
      error: null,
    })),
    result: null,
    changed: null,
    error: null,
    ...who,
    reason: options.reason ?? null,
    override: options.override ?? null,
    priority: options.priority,
    owner: null,
    waitsFor: null,
    undoable: false,
    repair: null,
    revision: 0,
    createdAt: null,
    startedAt: null,
    updatedAt: null,
    endedAt: null,
    deadlineAt: null,
  };
}

/** Percent, rate and time left, by steps. While it undoes, by steps that are back. */
export function progressOf(folded: Folded): Progress {
  const states = [...folded.steps.values()].map(({ state }) => state);
  const total = states.length;
  const done = folded.undoing
    ? states.filter((state) => ["undone", "pending", "skipped", "undo-failed"].includes(state)).length
    : states.filter((state) => ENDED_STEPS.has(state)).length;
  const percent = folded.endedAt || total === 0 ? 100 : Math.floor((done / total) * 100);
  const elapsedMs = folded.startedAt ? Date.parse(folded.updatedAt) - Date.parse(folded.startedAt) : 0;
  if (done === 0 || elapsedMs <= 0) return { percent, done, total, ratePerMinute: null, etaSeconds: null };
  const etaSeconds = folded.endedAt ? 0 : Math.round(((total - done) * elapsedMs) / done / 100) / 10;
  return { percent, done, total, ratePerMinute: Math.round((done / elapsedMs) * 600_000) / 10, etaSeconds };
}

function waitsFor(folded: Folded): string | null {
  if (folded.state === "paused" || (folded.pause && !folded.endedAt)) return `somebody who continues it`;
  if (folded.state === "stuck") return "somebody who repairs it";
  if (folded.state === "trying") return "somebody who confirms it";
  if (folded.state === "queued" && folded.waiting) return `${folded.waiting.holder} (lock ${folded.waiting.resource})`;
  return null;
}

function repairOf(folded: Folded): string | null {
  return folded.state === "stuck" ? `dvctl operations continue ${folded.created.operation}` : null;
}

/** What explains a wait besides the log. */
export interface WaitFacts {
  readonly blockers: readonly Lock[];
  readonly ownerAlive: boolean;
  readonly knownHere: boolean;
  readonly runner: RunnerView | undefined;
}

/** Everything that an operation waits for, the most telling first. */
export function explainWaits(folded: Folded, facts: WaitFacts): Wait[] {
  if (FINAL_STATES.has(folded.state) && folded.closed) return [];
  return [
    ...lockWaits(folded, facts.blockers),
    ...personWaits(folded),
    ...stepWaits(folded, facts.runner),
    ...ownerWaits(folded, facts),
    ...closingWaits(folded),
  ];
}

function lockWaits(folded: Folded, blockers: readonly Lock[]): Wait[] {
  return blockers.map((lock) => {
    const ahead = lock.waiting.findIndex(({ operation }) => operation === folded.created.operation);
    const queue = ahead > 0 ? `; ${ahead} wait before it` : "";
    return {
      what: `the lock ${lock.resource}${queue}`,
      blocker: `operation ${lock.operation} (${lock.type})`,
      holder: lock.actor,
      since: folded.waiting?.since ?? folded.created.at,
      unblocks: `the end of ${lock.operation}; dvctl operations why ${lock.operation} says what that one waits for`,
      nextTryAt: null,
    };
  });
}

function personWaits(folded: Folded): Wait[] {
  const id = folded.created.operation;
  if (folded.state === "stuck") {
    const failed = [...folded.steps].find(([, { state }]) => state === "undo-failed");
    return [
      {
        what: `a person: ${errorOf(folded)?.message ?? "undoing failed"}`,
        blocker: failed ? `the undo of step ${failed[0]}: ${failed[1].undoError?.message ?? "failed"}` : null,
        holder: null,
        since: folded.updatedAt,
        unblocks: `remove the cause, then: dvctl operations continue ${id}; or give up with: dvctl operations cancel ${id}`,
        nextTryAt: null,
      },
    ];
  }
  if (folded.state === "trying") {
    return [
      {
        what: "a confirmation, or the end of the trial",
        blocker: "the trial",
        holder: folded.created.actor,
        since: folded.updatedAt,
        unblocks: `dvctl operations confirm ${id}; without it, the operation undoes itself`,
        nextTryAt: null,
      },
    ];
  }
  if (!folded.pause || folded.endedAt) return [];
  return [
    {
      what: "somebody who continues it",
      blocker: `the pause${folded.pause.reason ? `: ${folded.pause.reason}` : ""}`,
      holder: folded.pause.by,
      since: folded.pause.at,
      unblocks: `dvctl operations continue ${id}`,
      nextTryAt: null,
    },
  ];
}

function stepWaits(folded: Folded, runner: RunnerView | undefined): Wait[] {
  const targets = new Map(folded.created.plan.targets.map(({ id, name }) => [id, name]));
  return folded.created.steps.flatMap(({ id, title, target }) => {
    const status = folded.steps.get(id);
    if (status?.state !== "running" && status?.state !== "undoing") return [];
    const retry = runner?.retrying.get(id);
    const node = target === null ? "the cluster" : `node ${targets.get(target) ?? target}`;
    return [
      {
        what: `${status.state === "undoing" ? "the undo of " : ""}step ${id}: ${title}`,
        blocker: retry ? `${node}: ${retry.error.message}` : node,
        holder: null,
        since: status.startedAt,
        unblocks: retry ? "an attempt that succeeds, or the end of the step's time" : "the end of the step",
        nextTryAt: retry ? new Date(retry.nextAtMs).toISOString() : null,
      },
    ];
  });
}

function ownerWaits(folded: Folded, { ownerAlive, knownHere }: WaitFacts): Wait[] {
  if (folded.closed || ownerAlive) return [];
  const what = knownHere ? "an instance that adopts it" : "an instance that knows this kind of operation";
  const { type, version } = folded.created;
  return [
    {
      what,
      blocker: `its owner ${folded.owner} is gone`,
      holder: null,
      since: folded.updatedAt,
      unblocks: knownHere ? "adoption, within 15 s" : `a server whose software knows ${type} version ${version}`,
      nextTryAt: null,
    },
  ];
}

function closingWaits(folded: Folded): Wait[] {
  if (!folded.endedAt || folded.closed) return [];
  return [
    {
      what: "its outcome in the audit trail, and its locks to be given back",
      blocker: "the message bus",
      holder: null,
      since: folded.endedAt,
      unblocks: "an acknowledgement of the bus",
      nextTryAt: null,
    },
  ];
}
