// SPDX-License-Identifier: Apache-2.0
/**
 * Runs one operation that this instance owns, from wherever its log says it stands to its end: locks, plan, steps, undo, outcome.
 * An intent is in the log before each step and an outcome after it; whatever is thrown here, another instance goes on.
 */
import type { OperationState } from "@debvisor/proto-events/durable";
import type { WireError } from "@debvisor/proto-events/replies";
import { DvError, toDvError } from "../errors.ts";
import type { PlannedStep } from "./definition.ts";
import { endOf, wholeIsUndone } from "./ending.ts";
import type { Folded } from "./fold.ts";
import { acquireLocks, type LockingResult } from "./locking.ts";
import type { NewRecord, StepChange } from "./log-record.ts";
import { type OperationLog, OwnershipLost } from "./operation-log.ts";
import { parseTry } from "./options.ts";
import { outcomeBody } from "./records.ts";
import type { RunnerDeps } from "./runner-deps.ts";
import { type Group, groupState, groupsOf, nextGroups } from "./schedule.ts";
import { doStep, inspectStep, StepFailure, type StepRun, undoStep } from "./step-runner.ts";

const PAUSE_LOOK_MS = 60_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** What a runner tells while it runs; for `why`. */
export interface RunnerView {
  /** Steps whose last attempt failed and that are tried again. */
  readonly retrying: ReadonlyMap<string, { readonly error: WireError; readonly nextAtMs: number }>;
}

/** One run of an operation by its owner. */
export class Runner implements RunnerView {
  readonly log: OperationLog;
  readonly retrying = new Map<string, { error: WireError; nextAtMs: number }>();
  readonly #deps: RunnerDeps;
  readonly #stop = new AbortController();
  /** Aborts attempts and waits when the operation shall not go on: cancel. */
  #forward = new AbortController();
  readonly #decided = Promise.withResolvers<void>();
  #wake = Promise.withResolvers<void>();
  #dirty = false;
  #changes: StepChange[] = [];
  #flushing: Promise<void> | undefined;
  readonly #startedAt: number;
  /** Milliseconds that had passed when this instance took over, by the server's clock. */
  readonly #elapsedMs: number;

  constructor(deps: RunnerDeps, log: OperationLog) {
    this.#deps = deps;
    this.log = log;
    this.#startedAt = deps.clock.monotonic();
    this.#elapsedMs = log.epoch === 1 ? 0 : Math.max(0, log.state.lastMs - log.state.firstMs);
  }

  /** Resolves when it is clear whether the operation begins, waits or is refused. */
  get decided(): Promise<void> {
    return this.#decided.promise;
  }

  /** Says that somebody else has appended to the log. */
  poke(): void {
    this.#dirty = true;
    this.#rouse();
  }

  /** Takes in what has been appended, for whoever looks at the state next. @throws OwnershipLost, BUS_UNAVAILABLE */
  async refresh(): Promise<void> {
    await this.log.sync();
    this.#rouse();
  }

  /** Leaves the operation to whoever adopts it. */
  stop(): void {
    this.#stop.abort();
    this.#forward.abort();
    this.#rouse();
  }

  /** Runs to the end. @throws OwnershipLost, BUS_UNAVAILABLE; then another run has to go on */
  async run(): Promise<void> {
    try {
      if (!this.#state.endedAt) await this.#toEnd();
      await this.#close();
    } finally {
      this.#decided.resolve();
      this.#stop.abort();
      this.#forward.abort();
    }
  }

  get #state(): Folded {
    return this.log.state;
  }

  async #toEnd(): Promise<void> {
    const locked = await this.#lock();
    if (locked.end) return await this.#end(locked.end.state, locked.end.error, false);
    this.#decided.resolve();
    if (!this.#state.undoing) await this.#work();
    if (this.#state.undoing && !this.#state.endedAt) await this.#undoAll();
  }

  /** Takes the locks, or takes them into the hand again after an adoption. */
  async #lock(): Promise<LockingResult> {
    const { waitMs } = this.#deps;
    return await acquireLocks(this.#deps, this.log, {
      waitMs: waitMs === undefined ? undefined : Math.max(1, waitMs - this.#elapsedMs),
      leftMs: this.#deadlineLeft(),
      stop: this.#stop.signal,
      watch: (abort) => this.#watchForCancel(abort),
      onWaiting: () => this.#decided.resolve(),
    });
  }

  /** Aborts `abort` once a cancel is asked for. */
  async #watchForCancel(abort: AbortController): Promise<void> {
    while (!abort.signal.aborted && !this.#stop.signal.aborted) {
      if (this.#dirty) await this.#sync();
      if (this.#state.cancel) return abort.abort();
      await this.#idle(PAUSE_LOOK_MS, [], abort.signal);
    }
  }

  /** The way forward: groups of steps until nothing is left to begin. */
  async #work(): Promise<void> {
    const busy = new Map<string, Promise<void>>();
    for (;;) {
      if (this.#dirty) await this.#sync();
      this.#stop.signal.throwIfAborted();
      const halt = this.#halt();
      if (halt) {
        this.#forward.abort();
        await Promise.all(busy.values());
        await this.#append({ t: "phase", phase: "undoing", end: halt.end, error: halt.error });
        return;
      }
      if (this.#state.pause) {
        await this.#pauseHere(busy);
        continue;
      }
      if (this.#state.state === "paused") await this.#append({ t: "phase", phase: "running", end: null, error: null });
      this.#begin(busy);
      if (busy.size === 0) break;
      await this.#idle(this.#deadlineLeft(), busy.values());
    }
    await this.#finishForward();
  }

  /** Why it must not go on, and what it will be when it is undone. */
  #halt(): { readonly end: OperationState; readonly error: WireError | null } | undefined {
    if (this.#state.cancel) return { end: "cancelled", error: null };
    if (this.#deadlineLeft() > 0) return undefined;
    const message = `It did not end within ${this.#state.created.deadlineMs} ms.`;
    return { end: "rolled-back", error: new DvError("DEADLINE_PASSED", message).toWire() };
  }

  async #pauseHere(busy: ReadonlyMap<string, Promise<void>>): Promise<void> {
    // Groups stop at their next step by themselves.
    if (busy.size > 0) await this.#idle(PAUSE_LOOK_MS, busy.values());
    else {
      if (this.#state.state !== "paused") await this.#append({ t: "phase", phase: "paused", end: null, error: null });
      await this.#idle(this.#deadlineLeft());
    }
  }

  #begin(busy: Map<string, Promise<void>>): void {
    const unfinished = groupsOf(this.#state).filter((group) => this.#mustUndo(group) && !busy.has(group.key));
    const { options } = this.#state.created;
    const concurrency = Math.min(options.concurrency, this.#deps.definition.mostAtOnce ?? options.concurrency);
    const next = nextGroups(this.#state, { ...options, concurrency }, new Set(busy.keys()));
    const several = !wholeIsUndone(this.#state);
    const start = (group: Group, work: Promise<void>) => {
      const settled = work.finally(() => busy.delete(group.key));
      settled.catch(() => undefined);
      busy.set(group.key, settled);
    };
    // A target that failed before this instance took over is brought back first.
    if (several)
      for (const group of unfinished)
        start(
          group,
          this.#undoGroup(group).then(() => undefined),
        );
    for (const group of next) start(group, this.#doGroup(group, several));
  }

  async #doGroup(group: Group, undoAlone: boolean): Promise<void> {
    for (const id of group.steps) {
      if (this.#state.steps.get(id)?.state === "done") continue;
      if (this.#state.cancel || this.#state.pause || this.#forward.signal.aborted) return;
      if (await this.#doOne(id)) continue;
      if (undoAlone) await this.#undoGroup(group);
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
      this.retrying.delete(id);
    }
  }

  #notVerified(step: PlannedStep, sight: string): StepFailure {
    const error = new DvError("VERIFY_FAILED", `${step.title}: reported success, but it looks ${sight}.`);
    return new StepFailure(error.toWire(), true);
  }

  /** What an error says about the step. A fenced order means that somebody newer may own the operation. */
  async #failureOf(error: unknown, ranBefore: boolean): Promise<StepFailure> {
    if (this.#stop.signal.aborted || error instanceof OwnershipLost) throw error;
    if (error instanceof StepFailure) {
      if (error.error.code === "COMMAND_FENCED") await this.#sync();
      return error;
    }
    if (this.#forward.signal.aborted)
      return new StepFailure(new DvError("STEP_FAILED", "It was interrupted by a cancel.").toWire(), true);
    // Neither ours nor the step's: a bug, or what a test puts here to make this instance die.
    if (!(error instanceof DvError)) throw error;
    return new StepFailure(toDvError(error).toWire(), ranBefore);
  }

  async #finishForward(): Promise<void> {
    const failed = groupsOf(this.#state).filter((group) => groupState(this.#state, group) === "failed");
    if (failed.length > 0 && wholeIsUndone(this.#state)) {
      const error = this.#firstError();
      await this.#append({ t: "phase", phase: "undoing", end: "rolled-back", error });
      return;
    }
    if (this.#stuckSteps().length > 0) {
      await this.#append({ t: "phase", phase: "stuck", end: "failed", error: this.#stuckError() });
      return;
    }
    const { state, error } = endOf(this.#state);
    if (state === "succeeded" && !(await this.#confirmed())) return;
    await this.#end(state, error, undefined);
  }

  /** Waits for the confirmation of a trial. False when it did not come: then it is being undone. */
  async #confirmed(): Promise<boolean> {
    const tryMs = parseTry(this.#state.created.options);
    const didNothing = this.#state.steps.size === 0;
    if (tryMs === undefined || didNothing) return true;
    if (this.#state.state !== "trying") await this.#append({ t: "phase", phase: "trying", end: null, error: null });
    for (;;) {
      if (this.#dirty) await this.#sync();
      this.#stop.signal.throwIfAborted();
      if (this.#state.confirmed) return true;
      // By the wall clock: after an adoption nobody knows better, and undoing early is the safe side of a trial.
      const leftMs = tryMs - (this.#deps.clock.now() - (this.#state.tryingSinceMs ?? 0));
      const halt = this.#halt() ?? (leftMs <= 0 ? notConfirmed(tryMs) : undefined);
      if (halt) {
        await this.#append({ t: "phase", phase: "undoing", end: halt.end, error: halt.error });
        return false;
      }
      await this.#idle(Math.min(leftMs, this.#deadlineLeft()));
    }
  }

  #firstError(): WireError | null {
    const statuses = [...this.#state.steps.values()];
    return statuses.find(({ error, state }) => error !== null && state !== "done")?.error ?? null;
  }

  #stuckError(): WireError | null {
    return [...this.#state.steps.values()].find(({ undoError }) => undoError !== null)?.undoError ?? null;
  }

  #stuckSteps(): readonly string[] {
    return [...this.#state.steps].filter(([, { state }]) => state === "undo-failed").map(([id]) => id);
  }

  /** The way back, last step first, until everything is undone or somebody gives up. */
  async #undoAll(): Promise<void> {
    for (;;) {
      if (this.#dirty) await this.#sync();
      this.#stop.signal.throwIfAborted();
      if (this.#state.givingUp) return await this.#giveUp();
      if (this.#state.state === "stuck") await this.#idle(PAUSE_LOOK_MS);
      else if (await this.#undoGroups()) break;
      else await this.#append({ t: "phase", phase: "stuck", end: null, error: this.#stuckError() });
    }
    const ended = endOf(this.#state);
    await this.#end(ended.state, ended.error, undefined);
  }

  /** True when everything that has to go back is back. */
  async #undoGroups(): Promise<boolean> {
    this.#forward = new AbortController();
    // After a stuck target of many, only what failed goes back; after a cancel or rollback all of it.
    const all = this.#state.endAfterUndo !== "failed";
    const wanted = groupsOf(this.#state).filter((group) => all || groupState(this.#state, group) === "failed");
    let undone = true;
    for (const group of [...wanted].reverse()) {
      if (!(await this.#undoGroup(group))) undone = false;
      // Steps of the cluster rest on each other, and so do those of a single target; targets of many do not.
      if (!undone && (group.target === null || wholeIsUndone(this.#state))) break;
    }
    return undone;
  }

  async #giveUp(): Promise<void> {
    const error = new DvError(
      "UNDO_FAILED",
      `Given up by ${this.#state.cancel?.by ?? "somebody"}; what was not undone stays.`,
    );
    await this.#end("failed", error.toWire(), true);
  }

  /** An undo that has failed is not begun again on the way forward; in the end the operation is stuck. */
  #mustUndo(group: Group): boolean {
    const isStuck = group.steps.some((id) => this.#state.steps.get(id)?.state === "undo-failed");
    return !isStuck && groupState(this.#state, group) === "failed" && group.steps.some((id) => this.#needsUndo(id));
  }

  #needsUndo(id: string): boolean {
    const status = this.#state.steps.get(id);
    if (!status || this.#kindOf(this.#stepOf(id)).undo === "never") return false;
    return (
      ["running", "done", "undoing", "undo-failed"].includes(status.state) || (status.state === "failed" && status.ran)
    );
  }

  /** Undoes what a group did or may have done. False when one step cannot be undone; the others before it stay as they are. */
  async #undoGroup(group: Group): Promise<boolean> {
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
      this.retrying.delete(id);
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
    const signal = AbortSignal.any([this.#stop.signal, this.#forward.signal]);
    return {
      step,
      kind: this.#kindOf(step),
      submission: {
        id: this.log.id,
        actor: created.actor,
        user: created.user,
        reason: created.options.reason ?? null,
        options: created.options,
        input: created.input,
        createdAt: created.at,
      },
      target: this.#deps.directory.list().find(({ id }) => id === step.target) ?? this.#plannedNode(step.target),
      epoch: this.log.epoch,
      fence: step.resource === null ? null : (fences[step.resource] ?? null),
      done: this.#state.steps.get(step.id)?.answer ?? null,
      reader: this.#deps.reader(signal),
      bus,
      clock,
      patience,
      mayHaveRun,
      onRetry: (error, nextMs) => this.retrying.set(step.id, { error, nextAtMs: clock.now() + nextMs }),
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
    await this.#append({ t: "steps", changes });
    this.#changes = this.#changes.filter((change) => !changes.includes(change));
  }

  async #end(state: OperationState, error: WireError | null, changed: boolean | undefined): Promise<void> {
    const answers = Object.fromEntries([...this.#state.steps].map(([id, { answer }]) => [id, answer]));
    const done = [...this.#state.steps.values()].some((step) => step.state === "done" || step.state === "undo-failed");
    const result = state === "succeeded" ? (this.#deps.definition.result?.(answers) ?? null) : null;
    await this.#append({ t: "end", state, error, result, changed: changed ?? done });
  }

  /** Gives back the locks and records the outcome, both as often as it takes. */
  async #close(): Promise<void> {
    if (this.#state.closed) return;
    await this.#deps.locks.release(this.log.id);
    await this.#deps.audit.record(outcomeBody(this.#state));
    await this.#append({ t: "closed" });
  }

  async #append(record: NewRecord): Promise<void> {
    await this.log.append(record);
    this.#deps.onChange();
  }

  async #sync(): Promise<void> {
    this.#dirty = false;
    await this.log.sync();
    this.#deps.onChange();
  }

  #deadlineLeft(): number {
    const { deadlineMs } = this.#state.created;
    return deadlineMs - this.#elapsedMs - (this.#deps.clock.monotonic() - this.#startedAt);
  }

  /** Waits until something is appended by others, one of the works ends, or the time is up. */
  async #idle(ms: number, works: Iterable<Promise<void>> = [], signal?: AbortSignal): Promise<void> {
    if (this.#dirty) return;
    const over = new AbortController();
    const signals = [over.signal, this.#stop.signal, ...(signal ? [signal] : [])];
    const timer = this.#deps.clock.sleep(Math.min(Math.max(ms, 1), LONGEST_TIMER_MS), AbortSignal.any(signals));
    try {
      await Promise.race([timer, this.#wake.promise, ...works]);
    } finally {
      over.abort();
    }
  }

  #rouse(): void {
    const waiting = this.#wake;
    this.#wake = Promise.withResolvers();
    waiting.resolve();
  }
}

function notConfirmed(tryMs: number) {
  const message = `Nobody confirmed it within ${Math.round(tryMs / 1_000)} s.`;
  return { end: "rolled-back" as const, error: new DvError("NOT_CONFIRMED", message).toWire() };
}
