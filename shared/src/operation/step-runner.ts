// SPDX-License-Identifier: Apache-2.0
/**
 * Runs one step in one direction: attempts until it succeeds, certainly cannot, or its time is up. What it throws says whether the
 * step may have had an effect, because that decides whether it is undone.
 */
import type { WireError } from "@debvisor/proto-events/replies";
import type { Bus } from "../bus/bus.ts";
import type { Clock } from "../clock.ts";
import { DvError, toDvError } from "../errors.ts";
import type { PlannedStep, Reader, Sight, StepContext, StepKind, Submission, TargetNode } from "./definition.ts";

/** How long attempts go on. Tests make it short. */
export interface Patience {
  /** While nobody answers for the target and no attempt can have arrived, in milliseconds. */
  readonly unreachableMs: number;
  /** For the undo of one step that fails. */
  readonly undoMs: number;
  /** For the undo of one step whose target is away; default: `undoMs`. */
  readonly undoAwayMs?: number;
  /** Pause before the second attempt; doubles up to 2 s. */
  readonly retryMs: number;
}

/** A node agent that was killed is back within seconds, a node that restarts within minutes. */
export const PATIENCE: Patience = { unreachableMs: 8_000, undoMs: 30_000, undoAwayMs: 300_000, retryMs: 100 };
/**
 * Longest wait for the answer to one order, unless the step says otherwise. Whoever was killed while it held the order does not
 * answer; asking again is safe, because the node's ledger knows the step.
 */
const ORDER_MS = 5_000;
const LONGEST_PAUSE_MS = 2_000;
/** Pause between two looks at what is in between, such as a service that is just coming up. */
const UNCLEAR_MS = 200;

/** Kinds after which the same attempt may succeed a moment later. */
const PASSING = new Set(["unavailable", "timeout", "busy"]);

/** Why a step failed, and whether it may have had an effect. */
export class StepFailure extends Error {
  override readonly name = "StepFailure";
  readonly error: WireError;
  readonly ran: boolean;

  constructor(error: WireError, ran: boolean) {
    super(error.message);
    this.error = error;
    this.ran = ran;
  }
}

/** Everything that running a step needs. */
export interface StepRun {
  readonly step: PlannedStep;
  readonly kind: StepKind<never>;
  readonly submission: Submission;
  readonly target: TargetNode | undefined;
  readonly epoch: number;
  readonly fence: number | null;
  readonly done: unknown;
  readonly reader: Reader;
  readonly bus: Pick<Bus, "command">;
  readonly clock: Clock;
  readonly patience: Patience;
  /** True when an owner before this one may have begun it. */
  readonly mayHaveRun: boolean;
  readonly onRetry: (error: WireError, nextMs: number) => void;
}

/** Does a step. @throws StepFailure */
export async function doStep(run: StepRun): Promise<unknown> {
  const { kind } = run;
  const patienceMs = kind.patienceMs ?? 3 * timeoutOf(run);
  return await attempt(run, "do", patienceMs, (context) => kind.do(run.step.params as never, context));
}

/** Undoes a step that ran or may have run, and checks that it is as before. @throws StepFailure */
export async function undoStep(run: StepRun): Promise<void> {
  const { undo } = run.kind;
  if (undo === "never") return;
  await attempt(run, "undo", run.patience.undoMs, async (context) => {
    await undo(run.step.params as never, context);
    const sight = await run.kind.inspect(run.step.params as never, context);
    if (sight === "after")
      throw new DvError("UNDO_FAILED", `${run.step.title}: the undo reported success, but its effect is still there.`);
  });
}

/** Looks at the real thing; again for a while where it is neither as before nor as after. @throws StepFailure when nobody can tell */
export async function inspectStep(run: StepRun): Promise<Sight> {
  const { clock, patience, reader } = run;
  const patienceMs = Math.max(timeoutOf(run), patience.unreachableMs);
  const deadline = clock.monotonic() + patience.unreachableMs;
  for (;;) {
    const sight = await attempt(run, "do", patienceMs, (context) =>
      run.kind.inspect(run.step.params as never, context),
    );
    if (sight !== "unclear" || clock.monotonic() >= deadline) return sight;
    await clock.sleep(UNCLEAR_MS, reader.signal);
  }
}

function timeoutOf({ kind, step }: StepRun): number {
  return typeof kind.timeoutMs === "number" ? kind.timeoutMs : kind.timeoutMs(step.params as never);
}

async function attempt<T>(
  run: StepRun,
  direction: "do" | "undo",
  patienceMs: number,
  action: (context: StepContext) => Promise<T>,
): Promise<T> {
  const { clock, patience, reader } = run;
  const startedAt = clock.monotonic();
  let ran = run.mayHaveRun;
  for (let tries = 0; ; tries++) {
    let error: DvError;
    try {
      reader.signal.throwIfAborted();
      return await within(run, action(contextOf(run, direction)));
    } catch (thrown) {
      if (reader.signal.aborted) throw thrown;
      error = toDvError(thrown);
    }
    // Nobody listens: the bus itself says that the order was not delivered.
    ran ||= error.code !== "UNAVAILABLE";
    const limit = limitOf(run, direction, error, ran, patienceMs);
    const pause = Math.min(patience.retryMs * 2 ** tries, LONGEST_PAUSE_MS);
    const left = limit - (clock.monotonic() - startedAt);
    if (!mayPass(error, direction) || left <= pause) throw new StepFailure(error.toWire(), ran);
    run.onRetry(error.toWire(), pause);
    await clock.sleep(pause, reader.signal);
  }
}

/** How long attempts may go on after this error. */
function limitOf(
  { patience }: StepRun,
  direction: "do" | "undo",
  { kind }: DvError,
  ran: boolean,
  patienceMs: number,
): number {
  if (direction === "undo") return PASSING.has(kind) ? (patience.undoAwayMs ?? patienceMs) : patienceMs;
  return ran ? patienceMs : Math.min(patienceMs, patience.unreachableMs);
}

/** An undo is worth more attempts than a do: only what is certain to stay as it is ends them. */
function mayPass({ kind, code }: DvError, direction: "do" | "undo"): boolean {
  return PASSING.has(kind) || (direction === "undo" && code !== "CONFLICT" && code !== "COMMAND_FENCED");
}

/** An attempt that does not end in its time, or that nobody waits for any more, counts as one without answer. */
async function within<T>(run: StepRun, work: Promise<T>): Promise<T> {
  const over = new AbortController();
  const limitMs = timeoutOf(run) + 1_000;
  const { signal } = run.reader;
  const timer = run.clock.sleep(limitMs, AbortSignal.any([over.signal, signal])).then((): never => {
    signal.throwIfAborted();
    throw new DvError("TIMEOUT", `${run.step.title}: no end within ${limitMs} ms; the effect is unknown.`);
  });
  timer.catch(() => undefined);
  try {
    return await Promise.race([work, timer]);
  } finally {
    over.abort();
    work.catch(() => undefined);
  }
}

function contextOf(run: StepRun, direction: "do" | "undo"): StepContext {
  const { step, submission, target, reader, bus } = run;
  const order = {
    operation: submission.id,
    step: step.id,
    direction,
    epoch: run.epoch,
    resource: step.resource,
    fence: run.fence,
  };
  return {
    ...reader,
    submission,
    target,
    order,
    done: run.done,
    command: async (contract, operation, input, options = {}) => {
      if (!target) throw new DvError("INTERNAL", `The step ${step.id} has no node that could be given an order.`);
      return await bus.command(target.id, contract, operation, input, order, {
        actor: submission.actor,
        timeoutMs: Math.min(timeoutOf(run), ORDER_MS),
        ...options,
      });
    },
  };
}
