// SPDX-License-Identifier: Apache-2.0
/** Durable operations as such: list, look, wait, stop, undo, and why one waits. The node agent's core part answers. */
import { z } from "zod";
import { Operation, OperationState, Progress, TargetOutcome } from "./durable.ts";
import { contract, event, operation } from "./kit.ts";
import { Actor, OperationId, Reason, Timestamp } from "./primitives.ts";
import { listQuery, page, WireError } from "./replies.ts";

/** An operation in a list: without plan and steps. */
export const OperationSummary = Operation.pick({
  type: true,
  state: true,
  progress: true,
  changed: true,
  error: true,
  actor: true,
  user: true,
  reason: true,
  waitsFor: true,
  undoable: true,
  createdAt: true,
  updatedAt: true,
  endedAt: true,
}).extend({ id: OperationId, targets: z.array(z.string()).describe("Names of the targets.") });
export type OperationSummary = z.output<typeof OperationSummary>;

/** Somebody who waits for a lock. */
export const LockWaiter = z.object({
  operation: OperationId,
  actor: Actor,
  priority: z.number().int(),
  since: Timestamp,
});
export type LockWaiter = z.output<typeof LockWaiter>;

/** A lock, and the queue behind it in the order in which it will be granted. */
export const Lock = z.object({
  resource: z.string().describe("What is locked, such as node/<id>/service/gateway."),
  operation: OperationId.describe("The operation that holds it."),
  type: z.string().describe("Type of that operation."),
  actor: Actor,
  reason: z.string().nullable(),
  since: Timestamp,
  expiresAt: Timestamp.nullable().describe("Deadline of the operation, after which it is undone and the lock goes."),
  fence: z.number().int().describe("Number that grows with every grant; nodes refuse an older one."),
  waiting: z.array(LockWaiter),
});
export type Lock = z.output<typeof Lock>;

/** One answer to "why does it wait?". */
export const Wait = z.object({
  what: z.string().describe("What it waits for."),
  blocker: z.string().nullable().describe("What is in the way: an operation, a node, a person."),
  holder: Actor.nullable().describe("Whose that is."),
  since: Timestamp.nullable(),
  unblocks: z.string().describe("What ends the wait."),
  nextTryAt: Timestamp.nullable().describe("When it is tried again by itself; null when that depends on the blocker."),
});
export type Wait = z.output<typeof Wait>;

const Ref = { operation: OperationId };
const Control = z.strictObject({
  ...Ref,
  reason: Reason.optional(),
  revision: z.coerce.number().int().positive().optional().describe("Only if the operation is still at this revision."),
});

const control = (
  verb: string,
  summary: string,
  more: { does: string; changes: string; undo: string; effect?: "destroy" },
) =>
  operation({
    summary,
    scope: "core",
    effect: more.effect ?? "change",
    idempotent: true,
    timeoutMs: 8_000,
    permission: `operation:operation:${verb}`,
    role: "operator",
    input: Control,
    output: Operation,
    errors: ["OPERATION_NOT_FOUND", "OPERATION_STATE"],
    http: { method: "POST", path: `/v1/operations/{operation}/${verb}` },
    cli: {
      noun: "operations",
      verb,
      args: ["operation"],
      examples: [{ command: `dvctl operations ${verb} op-k3x9w2mqabcde`.replaceAll("9", "7"), does: more.does }],
      changes: more.changes,
      undo: more.undo,
    },
  });

const columns = [
  { heading: "ID", value: "id" },
  { heading: "TYPE", value: "type" },
  { heading: "STATE", value: "state" },
  { heading: "DONE", value: "progress.percent", as: "percent" },
  { heading: "TARGETS", value: "targets", as: "list" },
  { heading: "ACTOR", value: "actor" },
  { heading: "AGE", value: "createdAt", as: "age" },
  { heading: "WAITS FOR", value: "waitsFor" },
] as const;

/** What an event about a run says. */
const RunFact = z.object({
  operation: OperationId,
  type: z.string(),
  state: OperationState,
  actor: Actor,
  targets: z.array(z.string()),
  reason: z.string().nullable(),
  revision: z.number().int(),
});

export const operationContract = contract({
  service: "operation",
  summary: "Durable operations: list, wait, cancel, undo, locks, and why one waits.",
  implementedBy: "node-agent",
  operations: {
    listOperations: operation({
      summary: "List the operations of the last 30 days, newest first.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 3_000,
      permission: "operation:operation:list",
      input: z.strictObject({ ...listQuery }),
      output: page(OperationSummary),
      errors: [],
      http: { method: "GET", path: "/v1/operations" },
      cli: {
        noun: "operations",
        verb: "list",
        rows: "items",
        columns,
        examples: [
          { command: "dvctl operations list", does: "Show what was done and what runs." },
          { command: "dvctl operations list --filter state=stuck", does: "Show what needs a person." },
          {
            command: "dvctl operations list --filter state=queued --sort createdAt",
            does: "Show what waits, oldest first.",
          },
        ],
      },
    }),
    getOperation: operation({
      summary: "Show one operation with its plan, steps and targets.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 3_000,
      permission: "operation:operation:get",
      input: z.strictObject(Ref),
      output: Operation,
      errors: ["OPERATION_NOT_FOUND"],
      http: { method: "GET", path: "/v1/operations/{operation}" },
      cli: {
        noun: "operations",
        verb: "show",
        args: ["operation"],
        examples: [{ command: "dvctl operations show op-k3x7w2mqabcde", does: "Show every step with its time." }],
      },
    }),
    waitOperation: operation({
      summary: "Wait until an operation has ended or changed; answers with it either way.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 35_000,
      permission: "operation:operation:wait",
      input: z.strictObject({
        ...Ref,
        seconds: z.coerce.number().min(0).max(30).default(25).describe("Longest wait in seconds (0 to 30)."),
        after: z.coerce
          .number()
          .int()
          .min(0)
          .optional()
          .describe("Answer as soon as the revision is greater than this; without it, at the end."),
      }),
      output: Operation,
      errors: ["OPERATION_NOT_FOUND"],
      http: { method: "GET", path: "/v1/operations/{operation}/wait" },
      cli: null,
    }),
    cancelOperation: control("cancel", "Stop an operation and undo what it has done.", {
      does: "Stop it; what was done is undone.",
      changes: "Begins no further step, then undoes the steps that ran or may have run.",
      undo: "Submit the operation again.",
    }),
    pauseOperation: control("pause", "Stop an operation before its next step, keeping what is done.", {
      does: "Hold it between two steps.",
      changes: "Begins no further step until it is continued. Its locks stay held.",
      undo: "dvctl operations continue ID",
    }),
    continueOperation: control("continue", "Go on with a paused operation, or try the undo of a stuck one again.", {
      does: "Go on where it stopped.",
      changes: "Runs the remaining steps; of a stuck operation, the undo that failed and those after it.",
      undo: "dvctl operations cancel ID",
    }),
    confirmOperation: control(
      "confirm",
      "Keep what an operation does on trial; without it, the operation undoes itself.",
      {
        does: "Keep what is being tried.",
        changes: "Ends the trial; the operation has succeeded.",
        undo: "dvctl operations rollback ID",
      },
    ),
    rollbackOperation: control("rollback", "Undo a finished operation from what it recorded.", {
      does: "Restore what was before it.",
      changes: "Takes the operation's locks again and undoes its steps, last one first.",
      undo: "Submit the operation again.",
      effect: "destroy",
    }),
    retryOperation: control("retry", "Run an operation again for the targets on which it failed.", {
      does: "Try the failed targets once more.",
      changes: "Makes a new operation of the same kind and input, for the failed targets only.",
      undo: "dvctl operations rollback ID, with the id of the new operation.",
    }),
    explainOperation: operation({
      summary: "Say what an operation waits for, who is in the way and what ends it.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 3_000,
      permission: "operation:operation:explain",
      input: z.strictObject(Ref),
      output: z.object({ operation: OperationId, state: OperationState, waits: z.array(Wait) }),
      errors: ["OPERATION_NOT_FOUND"],
      http: { method: "GET", path: "/v1/operations/{operation}/why" },
      cli: {
        noun: "operations",
        verb: "why",
        args: ["operation"],
        rows: "waits",
        columns: [
          { heading: "WAITS FOR", value: "what" },
          { heading: "BLOCKER", value: "blocker" },
          { heading: "HOLDER", value: "holder" },
          { heading: "SINCE", value: "since", as: "age" },
          { heading: "WHAT ENDS IT", value: "unblocks" },
          { heading: "NEXT TRY", value: "nextTryAt" },
        ],
        examples: [{ command: "dvctl operations why op-k3x7w2mqabcde", does: "Name what is in the way." }],
      },
    }),
    listLocks: operation({
      summary: "List the locks with holder, reason and the queue behind each.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 3_000,
      permission: "operation:lock:list",
      input: z.strictObject({ ...listQuery }),
      output: page(Lock),
      errors: [],
      http: { method: "GET", path: "/v1/locks" },
      cli: {
        noun: "locks",
        verb: "list",
        rows: "items",
        columns: [
          { heading: "RESOURCE", value: "resource" },
          { heading: "OPERATION", value: "operation" },
          { heading: "ACTOR", value: "actor" },
          { heading: "REASON", value: "reason" },
          { heading: "SINCE", value: "since", as: "age" },
          { heading: "WAITING", value: "waiting.length" },
        ],
        examples: [{ command: "dvctl locks list", does: "Show who holds what, and who waits." }],
      },
    }),
  },
  events: {
    "run.created": event({ summary: "An operation was accepted.", version: 1, payload: RunFact }),
    "run.started": event({ summary: "An operation has its locks and begins.", version: 1, payload: RunFact }),
    "run.progressed": event({
      summary: "Steps of an operation began or ended.",
      version: 1,
      payload: RunFact.extend({
        progress: Progress,
        steps: z.array(z.object({ id: z.string(), target: z.string().nullable(), state: z.string() })),
      }),
    }),
    "run.adopted": event({
      summary: "Another instance took an operation over, because its owner was gone.",
      version: 1,
      payload: RunFact.extend({ owner: z.string(), epoch: z.number().int() }),
    }),
    "run.requested": event({
      summary: "Somebody asked a running operation to cancel, pause, continue confirm or roll back.",
      version: 1,
      payload: RunFact.extend({ request: z.string(), by: Actor }),
    }),
    "run.paused": event({ summary: "An operation holds between two steps.", version: 1, payload: RunFact }),
    "run.tried": event({
      summary: "An operation is done and undoes itself unless it is confirmed in time.",
      version: 1,
      payload: RunFact.extend({ seconds: z.number().nonnegative().describe("Time for the confirmation.") }),
    }),
    "run.stuck": event({
      summary: "Undoing failed; a person is needed.",
      version: 1,
      payload: RunFact.extend({ error: WireError.nullable(), repair: z.string() }),
    }),
    "run.ended": event({
      summary: "An operation has ended; its state says how.",
      version: 1,
      payload: RunFact.extend({
        changed: z.boolean(),
        error: WireError.nullable(),
        outcomes: z.array(TargetOutcome.pick({ id: true, name: true, status: true })),
        ms: z.number().nonnegative(),
      }),
    }),
    "lock.contended": event({
      summary: "An operation was refused, or began to wait, because another one holds a lock.",
      version: 1,
      payload: z.object({
        resource: z.string(),
        operation: OperationId,
        holder: OperationId,
        actor: Actor,
        waits: z.boolean(),
      }),
    }),
  },
});
