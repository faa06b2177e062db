// SPDX-License-Identifier: Apache-2.0
/** The state of an operation, made from the records of its log in order. Pure: the same records give the same state. */
import type { OperationState, StepState } from "@debvisor/proto-events/durable";
import type { WireError } from "@debvisor/proto-events/replies";
import type { ControlVerb, CreatedRecord, LogRecord, StepChange } from "./log-record.ts";

/** How a step stands. `ran: false`: it certainly had no effect. */
export interface StepStatus {
  readonly state: StepState;
  readonly attempts: number;
  readonly ran: boolean;
  readonly startedAt: string | null;
  readonly ms: number | null;
  /** Why it failed; it stays to be seen while and after it is undone. */
  readonly error: WireError | null;
  /** Why its undo failed last. */
  readonly undoError: WireError | null;
  readonly answer: unknown;
}

/** Something that was asked of the operation and not answered yet. */
export interface PendingRequest {
  readonly request: ControlVerb;
  readonly by: string;
  readonly at: string;
  readonly reason: string | null;
}

/** Everything that the log says. Treat it as read-only outside of this file. */
export interface Folded {
  created: CreatedRecord;
  seq: number;
  /** Times by the server's clock, in milliseconds since 1970. */
  firstMs: number;
  lastMs: number;
  updatedAt: string;
  epoch: number;
  owner: string;
  state: OperationState;
  /** True once its outcome is recorded and its locks are free. */
  closed: boolean;
  fences: Readonly<Record<string, number>>;
  steps: Map<string, StepStatus>;
  /** True while work goes backwards, also while it is stuck or waits for locks to do so. */
  undoing: boolean;
  /** What it will have been after the undo. */
  endAfterUndo: OperationState | null;
  pause: PendingRequest | null;
  cancel: PendingRequest | null;
  /** A cancel of a stuck operation: what could not be undone stays. */
  givingUp: boolean;
  /** Why it is stuck; `error` keeps what it began to undo for. */
  stuckError: WireError | null;
  /** The undo of a finished operation was asked for. */
  rollback: PendingRequest | null;
  /** Time of the server at which its trial began, in milliseconds since 1970. */
  tryingSinceMs: number | null;
  confirmed: boolean;
  waiting: {
    readonly resource: string;
    readonly holder: string;
    readonly holderActor: string;
    readonly since: string;
  } | null;
  startedAt: string | null;
  endedAt: string | null;
  error: WireError | null;
  result: unknown;
  changed: boolean | null;
}

const NEW_STEP: StepStatus = {
  state: "pending",
  attempts: 0,
  ran: false,
  startedAt: null,
  ms: null,
  error: null,
  undoError: null,
  answer: null,
};

/** A record with its place. */
export interface PlacedRecord {
  readonly seq: number;
  readonly timeMs: number;
  readonly record: LogRecord;
}

/** Folds a whole log; undefined when it does not begin with what was asked for. */
export function fold(records: readonly PlacedRecord[]): Folded | undefined {
  const [first, ...rest] = records;
  if (first?.record.t !== "created") return undefined;
  const folded = begin(first.record, first.seq, first.timeMs);
  for (const record of rest) apply(folded, record);
  return folded;
}

function begin(created: CreatedRecord, seq: number, timeMs: number): Folded {
  return {
    created,
    seq,
    firstMs: timeMs,
    lastMs: timeMs,
    updatedAt: created.at,
    epoch: created.epoch,
    owner: created.owner,
    state: "queued",
    closed: false,
    fences: {},
    steps: new Map(created.steps.map(({ id }) => [id, NEW_STEP])),
    undoing: false,
    endAfterUndo: null,
    pause: null,
    cancel: null,
    givingUp: false,
    stuckError: null,
    rollback: null,
    tryingSinceMs: null,
    confirmed: false,
    waiting: null,
    startedAt: null,
    endedAt: null,
    error: null,
    result: null,
    changed: null,
  };
}

/** Applies the next record. A record of an owner that had been replaced when it was stored cannot exist: appends are guarded. */
export function apply(folded: Folded, { seq, timeMs, record }: PlacedRecord): void {
  folded.seq = seq;
  folded.lastMs = timeMs;
  folded.updatedAt = record.at;
  switch (record.t) {
    case "created":
      return;
    case "claim":
      folded.epoch = record.epoch;
      folded.owner = record.owner;
      return;
    case "replanned":
      folded.created = { ...folded.created, plan: record.plan, steps: record.steps, resources: record.resources };
      folded.steps = new Map(record.steps.map(({ id }) => [id, NEW_STEP]));
      return;
    case "waiting":
      folded.waiting = { ...record, since: folded.waiting?.since ?? record.at };
      return;
    case "locks":
      folded.fences = record.fences;
      folded.waiting = null;
      folded.startedAt ??= record.at;
      folded.state = folded.undoing ? "undoing" : "running";
      return;
    case "steps":
      for (const change of record.changes) applyStep(folded, change, record.at);
      return;
    case "phase":
      applyPhase(folded, record);
      return;
    case "request":
      applyRequest(folded, record);
      return;
    case "end":
      folded.state = record.state;
      folded.error = record.error;
      folded.result = record.result;
      folded.changed = record.changed;
      folded.endedAt = record.at;
      folded.pause = null;
      folded.cancel = null;
      folded.rollback = null;
      folded.waiting = null;
      return;
    case "closed":
      folded.closed = true;
  }
}

function applyStep(folded: Folded, change: StepChange, at: string): void {
  const before = folded.steps.get(change.step) ?? NEW_STEP;
  const begins = change.state === "running" || change.state === "undoing";
  const forward = change.state === "running" || change.state === "done" || change.state === "failed";
  folded.steps.set(change.step, {
    state: change.state,
    attempts: before.attempts + (begins ? 1 : 0),
    // Whoever begins a step may have had an effect, until it is known that it had none.
    ran: change.ran ?? (change.state === "running" ? true : before.ran),
    startedAt: begins ? at : before.startedAt,
    ms: change.ms ?? (begins ? null : before.ms),
    error: forward ? (change.error ?? null) : before.error,
    undoError: change.state === "undo-failed" ? (change.error ?? null) : null,
    answer: forward && change.answer !== undefined ? change.answer : before.answer,
  });
}

function applyPhase(folded: Folded, record: Extract<LogRecord, { t: "phase" }>): void {
  folded.state = record.phase;
  if (record.phase === "stuck") folded.stuckError = record.error;
  else folded.error = record.error ?? folded.error;
  if (record.phase === "trying") folded.tryingSinceMs ??= folded.lastMs;
  if (record.phase === "undoing" || record.phase === "stuck") {
    folded.undoing = true;
    folded.endAfterUndo = record.end ?? folded.endAfterUndo;
    folded.pause = null;
  }
}

function applyRequest(folded: Folded, record: Extract<LogRecord, { t: "request" }>): void {
  const pending = { request: record.request, by: record.by, at: record.at, reason: record.reason };
  if (record.request === "pause") folded.pause = pending;
  else if (record.request === "cancel") {
    folded.cancel = pending;
    folded.givingUp = folded.state === "stuck";
    if (folded.givingUp) folded.state = "undoing";
  } else if (record.request === "confirm") folded.confirmed = true;
  else if (record.request === "continue") {
    folded.pause = null;
    if (folded.state === "stuck") folded.state = "undoing";
  } else {
    // A finished operation begins to live again, backwards. Its old fences are void.
    folded.rollback = pending;
    folded.undoing = true;
    folded.endAfterUndo = "rolled-back";
    folded.state = "queued";
    folded.closed = false;
    folded.endedAt = null;
    folded.fences = {};
    folded.error = null;
  }
}
