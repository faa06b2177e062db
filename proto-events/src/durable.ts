// SPDX-License-Identifier: Apache-2.0
/**
 * What every durable operation shares: the options that its request may carry, the record that it answers with, and
 * `durable()`, which declares one (DESIGN.md 6 and 8). The engine that runs them is `shared/operation`.
 */
import { z } from "zod";
import type { ErrorCode } from "./errors.ts";
import type { CliSpec, DurableSpec, OperationSpec, Role } from "./kit.ts";
import { Actor, Duration, NodeId, OperationId, Reason, Sha256, Timestamp } from "./primitives.ts";
import { WireError } from "./replies.ts";

/** How far a request goes: `check` tests prerequisites, `plan` says what would happen, `apply` does it. */
export const Mode = z.enum(["check", "plan", "apply"]);
export type Mode = z.output<typeof Mode>;

/**
 * State of an operation. `checked` and `planned` are answers that no record is kept of; `failed` touched several targets and
 * only some succeeded; `trying` is done and undoes itself unless it is confirmed in time; `rolled-back` did nothing in the end; `stuck` could not be undone and waits for a person.
 */
export const OperationState = z.enum([
  "checked",
  "planned",
  "queued",
  "running",
  "paused",
  "trying",
  "undoing",
  "stuck",
  "succeeded",
  "failed",
  "rolled-back",
  "cancelled",
  "refused",
]);
export type OperationState = z.output<typeof OperationState>;

/** States in which nothing more will happen by itself. `stuck` is none: it holds its locks. */
export const FINAL_STATES: ReadonlySet<OperationState> = new Set([
  "checked",
  "planned",
  "succeeded",
  "failed",
  "rolled-back",
  "cancelled",
  "refused",
]);

/** A prerequisite that was looked at. */
export const Check = z.object({
  id: z.string().describe("Stable name, such as target.answers."),
  target: z.string().nullable().describe("Name of the node, or null for the cluster."),
  status: z.enum(["passed", "warned", "failed"]),
  message: z.string(),
  hint: z.string().nullable().describe("What to do; on every warned or failed check."),
});
export type Check = z.output<typeof Check>;

/** Something that will be different afterwards. */
export const PlannedEffect = z.object({
  target: z.string().nullable().describe("Name of the node, or null for the cluster."),
  what: z.string().describe("The thing that changes, such as file /etc/motd."),
  before: z.string().nullable().describe("How it is now; null when it does not exist."),
  after: z.string().nullable().describe("How it will be; null when it will be gone."),
  diff: z.string().nullable().default(null).describe("Unified diff, when it was asked for and there is one."),
});
export type PlannedEffect = z.output<typeof PlannedEffect>;

/** A target of the plan. `unchanged`: it is already as it should be, and no step touches it. */
export const PlannedTarget = z.object({
  id: NodeId,
  name: z.string(),
  zone: z.string().nullable(),
  state: z.enum(["change", "unchanged", "unreachable", "skipped"]),
});
export type PlannedTarget = z.output<typeof PlannedTarget>;

/** What would be done, in order. The digest covers what was read to make it; `apply` refuses when that has changed. */
export const Plan = z.object({
  digest: Sha256,
  targetDigest: Sha256.describe("SHA-256 over the sorted ids of the targets."),
  targets: z.array(PlannedTarget),
  steps: z.array(z.object({ id: z.string(), title: z.string(), target: z.string().nullable() })),
  effects: z.array(PlannedEffect),
  checks: z.array(Check),
  undo: z.string().describe("How it can be undone, in one sentence."),
});
export type Plan = z.output<typeof Plan>;

export const StepState = z.enum([
  "pending",
  "running",
  "done",
  "failed",
  "undoing",
  "undone",
  "undo-failed",
  "skipped",
]);
export type StepState = z.output<typeof StepState>;

/** A step and how it went. Times are of the last attempt. */
export const Step = z.object({
  id: z.string(),
  title: z.string(),
  target: z.string().nullable().describe("Name of the node, or null for the cluster."),
  state: StepState,
  attempts: z.number().int().nonnegative(),
  startedAt: Timestamp.nullable(),
  ms: z.number().nonnegative().nullable(),
  error: WireError.nullable(),
});
export type Step = z.output<typeof Step>;

/** How one target ended, or stands. */
export const TargetOutcome = z.object({
  id: NodeId,
  name: z.string(),
  status: z.enum(["pending", "running", "ok", "unchanged", "failed", "unreachable", "skipped", "undone", "stuck"]),
  error: WireError.nullable(),
});
export type TargetOutcome = z.output<typeof TargetOutcome>;

export const Progress = z.object({
  percent: z.number().min(0).max(100),
  done: z.number().int().nonnegative(),
  total: z.number().int().nonnegative(),
  ratePerMinute: z.number().nonnegative().nullable().describe("Steps a minute since it started."),
  etaSeconds: z.number().nonnegative().nullable().describe("Seconds left at that rate."),
});
export type Progress = z.output<typeof Progress>;

/** An operation as everybody sees it. */
export const Operation = z.object({
  id: OperationId.nullable().describe("Null for mode check and plan, of which no record is kept."),
  type: z.string().describe("<service>.<operation>, such as node-agent.put-file."),
  version: z.number().int().positive(),
  state: OperationState,
  mode: Mode,
  targets: z.array(TargetOutcome),
  plan: Plan,
  progress: Progress,
  steps: z.array(Step),
  result: z.unknown().nullable().describe("What the operation has to say at its end."),
  changed: z.boolean().nullable().describe("False when everything was already as asked; null before the end."),
  error: WireError.nullable(),
  actor: Actor,
  user: z.string().nullable().describe("Who typed it, as the command says: user, or user (sudo by other)."),
  source: z.string().nullable().describe("Address of the caller."),
  reason: z.string().nullable(),
  override: z.string().nullable().describe("Why a limit was exceeded on purpose."),
  priority: z.number().int(),
  requestId: z.string().nullable(),
  owner: z
    .object({ instance: z.string(), epoch: z.number().int() })
    .nullable()
    .describe("Who runs it, and for the how manieth time it was taken over."),
  waitsFor: z.string().nullable().describe("What it waits for, in words."),
  undoable: z.boolean().describe("Whether rollback can undo it now."),
  repair: z.string().nullable().describe("The command that helps when it is stuck."),
  revision: z.number().int().nonnegative().describe("Grows with every change; the ETag."),
  createdAt: Timestamp.nullable(),
  startedAt: Timestamp.nullable(),
  updatedAt: Timestamp.nullable(),
  endedAt: Timestamp.nullable(),
  deadlineAt: Timestamp.nullable(),
});
export type Operation = z.output<typeof Operation>;

/** Fields that the request of every durable operation may carry besides its own. */
export const operationOptions = {
  mode: Mode.default("apply").describe("check: test prerequisites; plan: say what would happen; apply: do it."),
  plan: Sha256.optional().describe("Digest of the plan that was looked at; refused when the world has moved since."),
  reason: Reason.optional(),
  wait: Duration.optional().describe("Join the queue for locks for at most this time; without it a held lock refuses."),
  priority: z.coerce
    .number()
    .int()
    .min(0)
    .max(9)
    .default(5)
    .describe("Place in the queue: higher goes first (0 to 9)."),
  deadline: Duration.optional().describe("Time after which it is stopped and undone."),
  try: Duration.optional().describe("Undo it by itself unless somebody confirms it within this time."),
  override: Reason.optional().describe("Why the limit on targets of one failure domain may be exceeded; recorded."),
  diff: z.stringbool().or(z.boolean()).default(false).describe("Show what would be different, line by line."),
};

/** Further fields of those that touch many nodes. */
export const fanOutOptions = {
  concurrency: z.coerce.number().int().min(1).max(1000).default(10).describe("Targets worked on at a time."),
  canary: z.coerce.number().int().min(0).max(100).default(0).describe("Targets that go first, alone; a failure stops."),
  batch: z.coerce
    .number()
    .int()
    .min(0)
    .max(1000)
    .default(0)
    .describe("Targets of a batch; the next one starts when all of it has ended. 0: no batches."),
  stopAfter: z.coerce
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(1)
    .describe("Failed targets after which no further one is begun."),
  sample: z.coerce.number().int().min(0).max(100_000).default(0).describe("Only this many of the targets. 0: all."),
  seed: z.coerce
    .number()
    .int()
    .min(0)
    .default(0)
    .describe("Which ones the sample takes; the same seed, the same ones."),
};

const OptionKeys = Object.keys({ ...operationOptions, ...fanOutOptions });

/** Splits a request into the operation's own fields and the engine's options. */
export function splitOptions(input: Readonly<Record<string, unknown>>): {
  readonly own: Record<string, unknown>;
  readonly options: OperationOptions;
} {
  const own: Record<string, unknown> = {};
  const options: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(input)) (OptionKeys.includes(key) ? options : own)[key] = value;
  return { own, options: OperationOptions.parse(options) };
}

/** The engine's options with their defaults. */
export const OperationOptions = z.object({ ...operationOptions, ...fanOutOptions });
export type OperationOptions = z.output<typeof OperationOptions>;

/** Stricter than the option, and of its type: whoever calls it with a constant reason is checked at run time only. */
const REASONED = { reason: Reason as unknown as (typeof operationOptions)["reason"] };

/** Codes that every durable operation may answer with. */
const DURABLE_ERRORS = [
  "CHECK_FAILED",
  "PLAN_STALE",
  "LOCK_HELD",
  "IN_MAINTENANCE",
  "BLAST_RADIUS_EXCEEDED",
  "BUDGET_SPENT",
  "IDEMPOTENCY_KEY_REUSED",
  "AUDIT_UNAVAILABLE",
  "NODE_NOT_FOUND",
] as const satisfies readonly ErrorCode[];

/**
 * Declares a durable operation of scope `core`. Its input gets the engine's options (with `fanOut` those for many nodes too, with
 * `needsReason` a reason that has to be given), its output is an `Operation`; over HTTP it answers 202 with a Location, or 200 for
 * mode check and plan.
 */
export function durable<I extends z.ZodRawShape>(spec: {
  readonly summary: string;
  readonly effect: "change" | "destroy";
  readonly permission: string;
  readonly role?: Role;
  readonly input: I;
  readonly fanOut?: boolean;
  readonly needsReason?: boolean;
  readonly errors?: readonly ErrorCode[];
  readonly http: NonNullable<OperationSpec["http"]>;
  readonly cli: CliSpec;
  readonly durable: DurableSpec;
}) {
  const { input, fanOut = false, needsReason = false, errors = [], role, ...rest } = spec;
  return {
    ...rest,
    ...(role === undefined ? {} : { role }),
    scope: "core" as const,
    idempotent: true,
    timeoutMs: 20_000,
    input: z.strictObject({
      ...input,
      ...operationOptions,
      ...(fanOut ? fanOutOptions : {}),
      ...(needsReason ? REASONED : {}),
    }),
    output: Operation,
    errors: [...DURABLE_ERRORS, ...errors.filter((code) => !(DURABLE_ERRORS as readonly string[]).includes(code))],
  };
}
