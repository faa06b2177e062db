// SPDX-License-Identifier: Apache-2.0
/**
 * The records of an operation's log (stream DV_OPS, one subject for each operation). They are all that is known of an
 * operation: whoever reads them in order knows its state (`fold.ts`). Fields are only ever added.
 */
import { OperationOptions, OperationState, Plan, StepState } from "@debvisor/proto-events/durable";
import { OperationId, Timestamp } from "@debvisor/proto-events/primitives";
import { WireError } from "@debvisor/proto-events/replies";
import { z } from "zod";

const base = {
  v: z.literal(1),
  /** Made once for the record; also its message id and the id of the event that is made of it. */
  rid: z.string().regex(/^[0-9a-f]{32}$/),
  /** Epoch of the owner that wrote it; of a request, the epoch that it saw. */
  epoch: z.number().int().positive(),
  at: Timestamp,
};

/** A step as the log keeps it. */
export const LoggedStep = z.object({
  id: z.string(),
  kind: z.string(),
  title: z.string(),
  target: z.string().nullable(),
  params: z.unknown(),
  resource: z.string().nullable(),
  undoable: z.boolean().default(true),
  seals: z.boolean().default(false),
});

const planned = {
  plan: Plan,
  steps: z.array(LoggedStep),
  resources: z.array(z.string()),
};

/** The first record: what was asked for, by whom, and the plan. */
export const CreatedRecord = z.object({
  t: z.literal("created"),
  ...base,
  operation: OperationId,
  type: z.string(),
  version: z.number().int().positive(),
  owner: z.string(),
  input: z.record(z.string(), z.unknown()),
  masked: z.record(z.string(), z.unknown()),
  options: OperationOptions,
  ...planned,
  actor: z.string(),
  user: z.string().nullable(),
  source: z.string().nullable(),
  requestId: z.string().nullable(),
  traceId: z.string().nullable(),
  deadlineMs: z.number().positive(),
  deadlineAt: Timestamp,
  retryOf: OperationId.nullable(),
});
export type CreatedRecord = z.output<typeof CreatedRecord>;

/** How a step changed. `ran: false`: it certainly had no effect. */
export const StepChange = z.object({
  step: z.string(),
  state: StepState,
  ran: z.boolean().optional(),
  answer: z.unknown().optional(),
  error: WireError.nullable().optional(),
  ms: z.number().nonnegative().optional(),
});
export type StepChange = z.output<typeof StepChange>;

/** What somebody may ask of an operation that exists. */
export const ControlVerb = z.enum(["cancel", "pause", "continue", "confirm", "rollback"]);
export type ControlVerb = z.output<typeof ControlVerb>;

export const LogRecord = z.discriminatedUnion("t", [
  CreatedRecord,
  /** An instance takes the operation over. */
  z.object({ t: z.literal("claim"), ...base, owner: z.string() }),
  /** The plan was made anew under the locks, because the world had moved while it waited. */
  z.object({ t: z.literal("replanned"), ...base, ...planned }),
  /** It waits in the queue of a lock. */
  z.object({
    t: z.literal("waiting"),
    ...base,
    resource: z.string(),
    holder: OperationId,
    holderActor: z.string(),
    waits: z.boolean(),
  }),
  /** It holds its locks; `fences` by resource. Work begins, or the undo of a finished operation. */
  z.object({ t: z.literal("locks"), ...base, fences: z.record(z.string(), z.number().int()) }),
  z.object({ t: z.literal("steps"), ...base, changes: z.array(StepChange).min(1) }),
  /** Another phase: it holds, undoes (and why), or is stuck. */
  z.object({
    t: z.literal("phase"),
    ...base,
    phase: z.enum(["running", "paused", "trying", "undoing", "stuck"]),
    /** What it will have been when the undo is complete. */
    end: OperationState.nullable(),
    error: WireError.nullable(),
  }),
  /** Somebody asks for something; written by any instance. */
  z.object({
    t: z.literal("request"),
    ...base,
    request: ControlVerb,
    by: z.string(),
    user: z.string().nullable(),
    reason: z.string().nullable(),
  }),
  z.object({
    t: z.literal("end"),
    ...base,
    state: OperationState,
    error: WireError.nullable(),
    result: z.unknown(),
    changed: z.boolean(),
  }),
  /** The outcome is in the audit trail and the locks are given back. */
  z.object({ t: z.literal("closed"), ...base }),
]);
export type LogRecord = z.output<typeof LogRecord>;

/** A record without what the log itself adds. */
export type NewRecord = LogRecord extends infer R
  ? R extends LogRecord
    ? Omit<R, "v" | "rid" | "epoch" | "at">
    : never
  : never;
