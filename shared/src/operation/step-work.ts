// SPDX-License-Identifier: Apache-2.0
/**
 * The steps of one run: each is announced in the log before it is begun, read back after it reported success, and concluded in the
 * log; forwards and backwards. Which groups of steps go when is the runner's business.
 */
import type { WireError } from "@debvisor/proto-events/replies";
import { DvError, toDvError } from "../errors.ts";
import type { PlannedStep } from "./definition.ts";
import { isSealed, sealedSteps } from "./ending.ts";
import type { Folded } from "./fold.ts";
import type { NewRecord, StepChange } from "./log-record.ts";
import { type OperationLog, OwnershipLost } from "./operation-log.ts";
import type { RunnerDeps } from "./runner-deps.ts";
import { type Group, groupState } from "./schedule.ts";
import { doStep, inspectStep, StepFailure, type StepRun, undoStep } from "./step-runner.ts";

/** What the steps need of the run that they belong to. */
export interface StepOwner {
  /** Steps whose last attempt failed and that are tried again. */
  readonly retrying: Map<string, { error: WireError; nextAtMs: number }>;
  append(record: NewRecord): Promise<void>;
  sync(): Promise<void>;
}

export class StepWork {
  readonly #deps: RunnerDeps;
  readonly #log: OperationLog;
  readonly #stopped: AbortSignal;
  readonly #owner: StepOwner;
  /** Aborts attempts when the operation shall not go on: cancel. */
  #forward = new AbortController();
  #changes: StepChange[] = [];
  #flushing: Promise<void> | undefined;

  constructor(deps: RunnerDeps, log: OperationLog, stopped: AbortSignal, owner: StepOwner) {
    this.#deps = deps;
    this.#log = log;
    this.#stopped = stopped;
    this.#owner = owner;
  }

  /** Ends the attempts that are under way; their steps count as steps that may have run. */
  interrupt(): void {
    this.#forward.abort();
  }

  /** Lets attempts begin again after an interruption, for the way back. */
  resume(): void {
    this.#forward = new AbortController();
  }

  get #state(): Folded {
    return this.#log.state;
  }

  /** Does the steps of a group, one after the other, and undoes them when one fails and the group stands alone. */
  async doGroup(group: Group, undoAlone: boolean): Promise<void> {
    for (const id of group.steps) {
      if (this.#state.steps.get(id)?.state === "done") continue;
      if ((this.#state.cancel && !isSealed(this.#state)) || this.#state.pause || this.#forward.signal.aborted) return;
      if (await this.#doOne(id)) continue;
      if (undoAlone) await this.undoGroup(group);
      return;
    }
  }

  /** Does a step and reads its effect back. False when it failed. */
  async #doOne(id: string): Promise<boolean> {
    const step = this.#stepOf(id);
    const before = this.#state.steps.get(id);
    const mayHaveRun = before !== undefined && before.state !== "pending" && before.ran;
    await this.#change({ step: id, state: "running" });
    const startedAt = this.#deps.clock.monotonic();
    const ms = () => Math.round((this.#deps.clock.monotonic() - startedAt) * 10) / 10;
    try {
      const run = this.#stepRun(step, mayHaveRun);
      const answer = await doStep(run);
      // It has run by now: when nobody can say how it looks, it has to be undone.
      const sight = await inspectStep({ ...run, done: answer, mayHaveRun: true });
      if (sight !== "after") throw this.#notVerified(step, sight);
      await this.#change({ step: id, state: "done", answer: answer ?? null, ms: ms() });
      return true;
    } catch (error) {
      const failure = await this.#failureOf(error, before?.ran ?? false);
      await this.#change({ step: id, state: "failed", error: failure.error, ran: failure.ran, ms: ms() });
      return false;
    } finally {
      this.#owner.retrying.delete(id);
    }
  }

  #notVerified(step: PlannedStep, sight: string): StepFailure {
    const error = new DvError("VERIFY_FAILED", `${step.title}: reported success, but it looks ${sight}.`);
    return new StepFailure(error.toWire(), true);
  }

  /** What an error says about the step. A fenced order means that somebody newer may own the operation. */
  async #failureOf(error: unknown, ranBefore: boolean): Promise<StepFailure> {
    if (this.#stopped.aborted || error instanceof OwnershipLost) throw error;
    if (error instanceof StepFailure) {
      if (error.error.code === "COMMAND_FENCED") await this.#owner.sync();
      return error;
    }
    if (this.#forward.signal.aborted)
      return new StepFailure(new DvError("STEP_FAILED", "It was interrupted by a cancel.").toWire(), true);
    // Neither ours nor the step's: a bug, or what a test puts here to make this instance die.
    if (!(error instanceof DvError)) throw error;
    return new StepFailure(toDvError(error).toWire(), ranBefore);
  }

  /** An undo that has failed is not begun again on the way forward; in the end the operation is stuck. */
  mustUndo(group: Group): boolean {
    const isStuck = group.steps.some((id) => this.#state.steps.get(id)?.state === "undo-failed");
    return !isStuck && groupState(this.#state, group) === "failed" && group.steps.some((id) => this.#needsUndo(id));
  }

  #needsUndo(id: string): boolean {
    const status = this.#state.steps.get(id);
    if (!status || this.#kindOf(this.#stepOf(id)).undo === "never" || sealedSteps(this.#state).has(id)) return false;
    return (
      ["running", "done", "undoing", "undo-failed"].includes(status.state) || (status.state === "failed" && status.ran)
    );
  }

  /** Undoes what a group did or may have done. False when one step cannot be undone; the others before it stay as they are. */
  async undoGroup(group: Group): Promise<boolean> {
    for (const id of [...group.steps].reverse()) {
      if (this.#needsUndo(id) && !(await this.#undoOne(id))) return false;
    }
    return true;
  }

  async #undoOne(id: string): Promise<boolean> {
    const step = this.#stepOf(id);
    await this.#change({ step: id, state: "undoing" });
    const startedAt = this.#deps.clock.monotonic();
    const ms = () => Math.round((this.#deps.clock.monotonic() - startedAt) * 10) / 10;
    try {
      await undoStep(this.#stepRun(step, true));
      await this.#change({ step: id, state: "undone", ms: ms() });
      return true;
    } catch (error) {
      const failure = await this.#failureOf(error, true);
      await this.#change({ step: id, state: "undo-failed", error: failure.error, ms: ms() });
      return false;
    } finally {
      this.#owner.retrying.delete(id);
    }
  }

  #stepOf(id: string): PlannedStep {
    const step = this.#state.created.steps.find((one) => one.id === id);
    if (!step) throw new DvError("INTERNAL", `The plan has no step ${id}.`);
    return step as PlannedStep;
  }

  #kindOf(step: PlannedStep) {
    const kind = this.#deps.definition.steps[step.kind];
    if (!kind) throw new DvError("INTERNAL", `${this.#deps.definition.type} has no kind of step ${step.kind}.`);
    return kind;
  }

  #stepRun(step: PlannedStep, mayHaveRun: boolean): StepRun {
    const { created, fences } = this.#state;
    const { bus, clock, patience } = this.#deps;
    const signal = AbortSignal.any([this.#stopped, this.#forward.signal]);
    return {
      step,
      kind: this.#kindOf(step),
      submission: {
        id: this.#log.id,
        actor: created.actor,
        user: created.user,
        reason: created.options.reason ?? null,
        options: created.options,
        input: created.input,
        createdAt: created.at,
      },
      target: this.#deps.directory.list().find(({ id }) => id === step.target) ?? this.#plannedNode(step.target),
      epoch: this.#log.epoch,
      fence: step.resource === null ? null : (fences[step.resource] ?? null),
      done: this.#state.steps.get(step.id)?.answer ?? null,
      reader: this.#deps.reader(signal),
      bus,
      clock,
      patience,
      mayHaveRun,
      onRetry: (error, nextMs) => this.#owner.retrying.set(step.id, { error, nextAtMs: clock.now() + nextMs }),
    };
  }

  /** A node that has left the registry meanwhile can still be given orders. */
  #plannedNode(id: string | null) {
    const planned = this.#state.created.plan.targets.find((target) => target.id === id);
    return planned && { ...planned, state: "lost" as const, roles: [], rack: null, version: "" };
  }

  /** Notes a change of a step. Changes that come while one record is being stored share the next one. */
  async #change(change: StepChange): Promise<void> {
    this.#changes.push(change);
    while (this.#changes.includes(change)) {
      this.#flushing ??= this.#flush().finally(() => {
        this.#flushing = undefined;
      });
      await this.#flushing;
    }
  }

  async #flush(): Promise<void> {
    const changes = [...this.#changes];
    await this.#owner.append({ t: "steps", changes });
    this.#changes = this.#changes.filter((change) => !changes.includes(change));
  }
}
