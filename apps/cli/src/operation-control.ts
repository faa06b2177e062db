// SPDX-License-Identifier: Apache-2.0
/**
 * `dvctl operations cancel|pause|continue|confirm|rollback|retry ID`: the request, and then following until it took effect. The
 * answer to the request only says that it was noted; whoever runs the operation acts on it.
 */
import type { Operation } from "@debvisor/proto-events/durable";
import type { OperationSpec } from "@debvisor/proto-events/kit";
import { operationContract } from "@debvisor/proto-events/operation";
import { DvError } from "@debvisor/shared/errors";
import { formatDuration } from "@debvisor/shared/units";
import { z } from "zod";
import { type Call, type CommandSpec, EXIT } from "./command.ts";
import { consent } from "./confirm.ts";
import { followFlags } from "./follow-flags.ts";
import { privilegeOf, toHttp } from "./from-contract.ts";
import {
  followOperation,
  getOperation,
  hasEnded,
  outcomeCode,
  readOperation,
  reportOutcome,
  type Seen,
  type Until,
  type Wanted,
} from "./operation-follow.ts";
import { headline, planText } from "./operation-text.ts";

const SLACK_MS = 3_000;
const ATTEMPTS = 6;
/** How long an operation may take to show that it acts on a request. */
const BEGIN_MS = 60_000;

const {
  cancelOperation,
  confirmOperation,
  pauseOperation,
  continueOperation,
  rollbackOperation: undo,
  retryOperation,
} = operationContract.operations;

interface Control {
  /** What counts as success, by the answer to the request. */
  readonly wanted: (noted: Operation) => Wanted;
  /** Makes the condition at which following ends, from the answer to the request. */
  readonly until: (noted: Operation) => Until;
}

const SECOND_LOOK = new Set(["running", "undoing", "queued"]);

/* The state of the answer may be the one from before: an end counts only after the operation was seen at work. */
function afterWork(isEnd: Until): Control["until"] {
  return (noted) => {
    let worked = SECOND_LOOK.has(noted.state);
    const startedAt = performance.now();
    return (operation) => {
      worked ||= SECOND_LOOK.has(operation.state) || operation.state !== noted.state;
      if (worked) return isEnd(operation) && !SECOND_LOOK.has(operation.state);
      if (performance.now() - startedAt <= BEGIN_MS) return false;
      throw new DvError("TIMEOUT", `${operation.id} did not begin within ${formatDuration(BEGIN_MS)}`, {
        details: { hint: `dvctl operations why ${operation.id}` },
      });
    };
  };
}

/* What was stuck, or undoing when it was held, ends well when everything is undone. */
function wantedOfContinue({ state, repair }: Operation): Wanted {
  return state === "stuck" || state === "undoing" || repair !== null ? "undone" : "done";
}

/* One that waits in a queue is held before its first step; there is nothing more to wait for. */
function isHeld(operation: Operation): boolean {
  return operation.state === "paused" || operation.state === "queued" || hasEnded(operation);
}

const CONTROLS = {
  cancel: { wanted: () => "undone", until: () => hasEnded },
  pause: { wanted: () => "paused", until: () => isHeld },
  continue: {
    wanted: wantedOfContinue,
    until: afterWork((operation) => operation.state === "paused" || hasEnded(operation)),
  },
  confirm: { wanted: () => "done", until: () => hasEnded },
  rollback: { wanted: () => "undone", until: afterWork(hasEnded) },
  retry: { wanted: () => "done", until: () => hasEnded },
} as const satisfies Readonly<Record<string, Control>>;

function controlCommand(
  spec: OperationSpec,
  control: Control,
  run: CommandSpec["run"] = async (call) => await send(spec, control, { ...requestFields(call) }, call),
): CommandSpec {
  const { cli } = spec;
  if (!cli) throw new TypeError("the operation has no command");
  return {
    noun: cli.noun,
    verb: cli.verb,
    summary: spec.summary,
    input: z.strictObject({ ...spec.input.shape, ...followFlags }),
    args: cli.args ?? [],
    effect: spec.effect,
    privilege: privilegeOf(spec),
    errors: spec.errors,
    help: cli,
    run,
  };
}

function requestFields({ given }: Call): Readonly<Record<string, unknown>> {
  const { detach: _detach, noProgress: _noProgress, ...fields } = given;
  return fields;
}

/** The six commands. */
export const operationControls: readonly CommandSpec[] = [
  controlCommand(cancelOperation, CONTROLS.cancel),
  controlCommand(pauseOperation, CONTROLS.pause),
  controlCommand(continueOperation, CONTROLS.continue),
  controlCommand(confirmOperation, CONTROLS.confirm),
  controlCommand(retryOperation, CONTROLS.retry),
  controlCommand(undo, CONTROLS.rollback, async (call) => {
    const { operation: id, ...fields } = requestFields(call);
    const seen = await getOperation(String(id), call.client());
    return await rollbackOperation(seen, { title: "dvctl operations rollback", fields, only: false }, call);
  }),
];

/** What a rollback is called, what goes with its request, and whether it is only shown. */
export interface Rollback {
  readonly title: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly only: boolean;
}

/** Shows an operation, asks, and undoes it. */
export async function rollbackOperation(seen: Seen, { title, fields, only }: Rollback, call: Call): Promise<number> {
  const { operation, reply } = seen;
  const { output } = call;
  if (!operation.undoable) {
    throw new DvError("OPERATION_STATE", `${operation.id} cannot be undone: it is ${operation.state}`);
  }
  const lines = [
    headline(operation, { color: false, nowMs: Date.now() }),
    ...planText(title, reversed(operation), {}, true),
  ];
  if (only) {
    output.result(reply.body, () => lines.join("\n"), reply.text);
    output.info("nothing changed");
    return EXIT.ok;
  }
  const stop = await consent({ title, effect: "destroy", many: false, lines }, call);
  if (stop !== undefined) return stop;
  return await send(undo, CONTROLS.rollback, { ...fields, operation: operation.id }, call);
}

/* What a rollback will do: the effects the other way round, the last step first. */
function reversed(operation: Operation): Operation {
  const { plan } = operation;
  const effects = plan.effects.map((effect) => ({ ...effect, before: effect.after, after: effect.before, diff: null }));
  const steps = plan.steps.map((step) => ({ ...step, title: `undo: ${step.title}` })).reverse();
  return { ...operation, plan: { ...plan, effects: effects.reverse(), steps, undo: "Submit the operation again." } };
}

async function send(
  spec: OperationSpec,
  { wanted, until }: Control,
  fields: Readonly<Record<string, unknown>>,
  call: Call,
): Promise<number> {
  const { output } = call;
  const timeoutMs = spec.timeoutMs + SLACK_MS;
  const noted = readOperation(await call.client().request({ ...toHttp(spec, fields), timeoutMs, attempts: ATTEMPTS }));
  if (call.input["detach"] === true) {
    output.result(noted.reply.body, () => noted.operation.id ?? "-", noted.reply.text);
    return EXIT.ok;
  }
  const end = await followOperation(noted, call, until(noted.operation));
  if (end === undefined) return EXIT.interrupted;
  const code = reportOutcome(end, call, wanted(noted.operation));
  if (code !== EXIT.ok && outcomeCode(end.operation) === EXIT.ok)
    output.error(`${end.operation.id} had succeeded before that took effect`);
  return code;
}
