// SPDX-License-Identifier: Apache-2.0
/**
 * Runs one operation that this instance owns, from wherever its log says it stands to its end: locks, plan, steps, undo, outcome.
 * An intent is in the log before each step and an outcome after it; whatever is thrown here, another instance goes on.
 */
import type { OperationState } from "@debvisor/proto-events/durable";
import type { WireError } from "@debvisor/proto-events/replies";
import { DvError } from "../errors.ts";
import { endOf, isSealed, wholeIsUndone } from "./ending.ts";
import type { Folded } from "./fold.ts";
import { acquireLocks, type LockingResult } from "./locking.ts";
import type { OperationLog } from "./operation-log.ts";
import { parseTry } from "./options.ts";
import { outcomeBody } from "./records.ts";
import type { RunnerDeps } from "./runner-deps.ts";
import { type Group, groupState, groupsOf, nextGroups } from "./schedule.ts";
import { StepWork } from "./step-work.ts";

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
  readonly #work: StepWork;
  readonly #decided = Promise.withResolvers<void>();
  #wake = Promise.withResolvers<void>();
  #dirty = false;
  readonly #startedAt: number;
  /** Milliseconds that had passed when this instance took over, by the server's clock. */
  readonly #elapsedMs: number;

  constructor(deps: RunnerDeps, log: OperationLog) {
    this.#deps = deps;
    this.log = log;
    this.#work = new StepWork(deps, log, this.#stop.signal, {
      retrying: this.retrying,
      append: (record) => this.log.append(record),
      sync: () => this.#sync(),
    });
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
    this.#work.interrupt();
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
      this.#work.interrupt();
    }
  }

  get #state(): Folded {
    return this.log.state;
  }

  async #toEnd(): Promise<void> {
    const locked = await this.#lock();
    if (locked.end) return await this.#end(locked.end.state, locked.end.error, false);
    this.#decided.resolve();
    if (!this.#state.undoing) await this.#goForward();
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
  async #goForward(): Promise<void> {
    const busy = new Map<string, Promise<void>>();
    for (;;) {
      if (this.#dirty) await this.#sync();
      this.#stop.signal.throwIfAborted();
      const halt = this.#halt();
      if (halt) {
        this.#work.interrupt();
        await Promise.all(busy.values());
        await this.log.append({ t: "phase", phase: "undoing", end: halt.end, error: halt.error });
        return;
      }
      if (this.#state.pause) {
        await this.#pauseHere(busy);
        continue;
      }
      if (this.#state.state === "paused")
        await this.log.append({ t: "phase", phase: "running", end: null, error: null });
      this.#begin(busy);
      if (busy.size === 0) break;
      await this.#idle(this.#deadlineLeft(), busy.values());
    }
    await this.#finishForward();
  }

  /** Why it must not go on, and what it will be when it is undone. */
  #halt(): { readonly end: OperationState; readonly error: WireError | null } | undefined {
    if (isSealed(this.#state)) return undefined;
    if (this.#state.cancel) return { end: "cancelled", error: null };
    if (this.#deadlineLeft() > 0) return undefined;
    const message = `It did not end within ${this.#state.created.deadlineMs} ms.`;
    return { end: "rolled-back", error: new DvError("DEADLINE_PASSED", message).toWire() };
  }

  async #pauseHere(busy: ReadonlyMap<string, Promise<void>>): Promise<void> {
    // Groups stop at their next step by themselves.
    if (busy.size > 0) await this.#idle(PAUSE_LOOK_MS, busy.values());
    else {
      if (this.#state.state !== "paused")
        await this.log.append({ t: "phase", phase: "paused", end: null, error: null });
      await this.#idle(this.#deadlineLeft());
    }
  }

  #begin(busy: Map<string, Promise<void>>): void {
    const unfinished = groupsOf(this.#state).filter((group) => this.#work.mustUndo(group) && !busy.has(group.key));
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
          this.#work.undoGroup(group).then(() => undefined),
        );
    for (const group of next) start(group, this.#work.doGroup(group, several));
  }

  async #finishForward(): Promise<void> {
    const failed = groupsOf(this.#state).filter((group) => groupState(this.#state, group) === "failed");
    if (failed.length > 0 && wholeIsUndone(this.#state)) {
      const error = this.#firstError();
      await this.log.append({ t: "phase", phase: "undoing", end: "rolled-back", error });
      return;
    }
    if (this.#stuckSteps().length > 0) {
      await this.log.append({ t: "phase", phase: "stuck", end: "failed", error: this.#stuckError() });
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
    if (this.#state.state !== "trying") await this.log.append({ t: "phase", phase: "trying", end: null, error: null });
    for (;;) {
      if (this.#dirty) await this.#sync();
      this.#stop.signal.throwIfAborted();
      if (this.#state.confirmed) return true;
      // By the wall clock: after an adoption nobody knows better, and undoing early is the safe side of a trial.
      const leftMs = tryMs - (this.#deps.clock.now() - (this.#state.tryingSinceMs ?? 0));
      const halt = this.#halt() ?? (leftMs <= 0 ? notConfirmed(tryMs) : undefined);
      if (halt) {
        await this.log.append({ t: "phase", phase: "undoing", end: halt.end, error: halt.error });
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
      else await this.log.append({ t: "phase", phase: "stuck", end: null, error: this.#stuckError() });
    }
    const ended = endOf(this.#state);
    await this.#end(ended.state, ended.error, undefined);
  }

  /** True when everything that has to go back is back. */
  async #undoGroups(): Promise<boolean> {
    this.#work.resume();
    // After a stuck target of many, only what failed goes back; after a cancel or rollback all of it.
    const all = this.#state.endAfterUndo !== "failed";
    const wanted = groupsOf(this.#state).filter((group) => all || groupState(this.#state, group) === "failed");
    let undone = true;
    for (const group of [...wanted].reverse()) {
      if (!(await this.#work.undoGroup(group))) undone = false;
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

  async #end(state: OperationState, error: WireError | null, changed: boolean | undefined): Promise<void> {
    const answers = Object.fromEntries([...this.#state.steps].map(([id, { answer }]) => [id, answer]));
    const done = [...this.#state.steps.values()].some((step) => step.state === "done" || step.state === "undo-failed");
    const result = state === "succeeded" ? (this.#deps.definition.result?.(answers) ?? null) : null;
    await this.log.append({ t: "end", state, error, result, changed: changed ?? done });
  }

  /** Gives back the locks and records the outcome, both as often as it takes. */
  async #close(): Promise<void> {
    if (this.#state.closed) return;
    await this.#deps.locks.release(this.log.id);
    await this.#deps.audit.record(outcomeBody(this.#state));
    await this.log.append({ t: "closed" });
  }

  async #sync(): Promise<void> {
    this.#dirty = false;
    await this.log.sync();
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
