// SPDX-License-Identifier: Apache-2.0
/**
 * The engine of durable operations (DESIGN.md 6): accepts, runs, adopts and controls them. One for each core part that has
 * definitions; all engines share the log stream, and any of them may finish what another one began.
 */
import type { Operation } from "@debvisor/proto-events/durable";
import { FINAL_STATES } from "@debvisor/proto-events/durable";
import type { Lock, OperationSummary, Wait } from "@debvisor/proto-events/operation";
import type { AuditEmitter } from "../audit/emitter.ts";
import type { Bus, Closable, Journal, JournalEntry, RequestContext } from "../bus/bus.ts";
import type { Clock } from "../clock.ts";
import { causeChain, DvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { Catalogue } from "./catalogue.ts";
import { requestControl } from "./control.ts";
import type { Definition } from "./definition.ts";
import type { Folded } from "./fold.ts";
import type { LockTable } from "./lock-table.ts";
import { openLockTable } from "./lock-table.ts";
import type { ControlVerb } from "./log-record.ts";
import { OperationLog, OwnershipLost } from "./operation-log.ts";
import { parseWait } from "./options.ts";
import { Owners, type OwnersView } from "./owners.ts";
import { completePlan } from "./planning.ts";
import { createReader, type Directory } from "./reader.ts";
import { Runner } from "./runner.ts";
import type { RunnerDeps } from "./runner-deps.ts";
import { PATIENCE, type Patience } from "./step-runner.ts";
import { type MaintenanceGate, Submitter } from "./submit.ts";
import { explainWaits, operationView } from "./view.ts";

const SWEEP_MS = 1_000;
const HOUR_MS = 3_600_000;
/** How often a wait looks at the log itself, should the reader of the stream have stopped for a while. */
const LOOK_AGAIN_MS = 3_000;
/** Longest time that a stop waits for runners to let go. */
const STOP_MS = 1_000;

export interface EngineOptions {
  readonly service: string;
  readonly nodeId: string;
  readonly bus: Bus;
  readonly definitions: readonly Definition<never>[];
  readonly audit: AuditEmitter;
  readonly gate: MaintenanceGate;
  readonly directory: Directory;
  readonly clock: Clock;
  readonly log: Logger;
  readonly patience?: Patience;
  /** Wraps the log of operations; for tests that break it. */
  readonly journal?: Journal;
  readonly locks?: (isLive: (id: string) => Promise<boolean>) => Promise<LockTable>;
  /** Says who lives, instead of leases; for tests that decide it themselves. */
  readonly owners?: OwnersView;
}

/** Starts an engine. It accepts operations once `waitsFor` is undefined. @throws BUS_UNAVAILABLE */
export async function startEngine(options: EngineOptions): Promise<Engine> {
  const engine = new Engine(options);
  await engine.start();
  return engine;
}

export class Engine implements Closable {
  readonly #options: EngineOptions;
  readonly #definitions: ReadonlyMap<string, Definition<never>>;
  readonly #journal: Journal;
  readonly #catalogue: Catalogue;
  readonly #owners: OwnersView;
  readonly #runners = new Map<string, Runner>();
  readonly #adopting = new Set<string>();
  readonly #stop = new AbortController();
  #locks: LockTable | undefined;
  #sweeping: Promise<void> | undefined;

  constructor(options: EngineOptions) {
    this.#options = options;
    const { bus, clock, log, service, nodeId } = options;
    this.#definitions = new Map(options.definitions.map((definition) => [definition.type, definition]));
    this.#journal = options.journal ?? bus.journal("DV_OPS");
    this.#catalogue = new Catalogue({ journal: this.#journal, clock, log });
    this.#owners = options.owners ?? new Owners({ bus, clock, log, name: `${service}-${nodeId}` });
    this.#catalogue.onEntry((id, entry) => this.#onEntry(id, entry));
  }

  async start(): Promise<void> {
    const { bus, clock, log } = this.#options;
    const isLive = (id: string) => this.#isLive(id);
    await Promise.all([
      this.#catalogue.start(),
      this.#owners.start(),
      (this.#options.locks?.(isLive) ?? openLockTable({ bus, clock, log, isLive })).then((locks) => {
        this.#locks = locks;
      }),
    ]);
    this.#sweeping = this.#sweep();
  }

  /** Undefined when it accepts operations, otherwise what it waits for. A long log is read meanwhile; only lists wait for that. */
  get waitsFor(): string | undefined {
    return this.#owners.waitsFor ?? (this.#locks?.ready ? undefined : "the locks");
  }

  /** Ends without ending operations: another instance goes on with them. Resolves within about 2 s. */
  async stop(): Promise<void> {
    this.#stop.abort();
    for (const runner of this.#runners.values()) runner.stop();
    const { clock } = this.#options;
    const deadline = clock.monotonic() + STOP_MS;
    while (this.#runners.size > 0 && clock.monotonic() < deadline) await clock.sleep(10);
    await this.#sweeping;
    await Promise.all([this.#catalogue.stop(), this.#owners.stop(), this.#locks?.stop()]);
  }

  /** The handler of a durable operation. */
  handler<I extends Record<string, unknown>>(type: string): (input: I, context: RequestContext) => Promise<Operation> {
    const definition = this.#definitions.get(type);
    if (!definition) throw new DvError("INTERNAL", `No definition of ${type}.`);
    return (input, context) => this.#submit(definition, input, context);
  }

  /** One operation. @throws OPERATION_NOT_FOUND, BUS_UNAVAILABLE */
  async get(id: string): Promise<Operation> {
    return this.#view(await this.#folded(id));
  }

  /** Every operation of the list, newest first. @throws UNAVAILABLE while the log has not been read to its end */
  list(): OperationSummary[] {
    this.#requireCatalogue();
    return this.#catalogue.list();
  }

  locks(): readonly Lock[] {
    return this.#locks?.list() ?? [];
  }

  /**
   * Waits until the operation ends (or is stuck), or with `after` until its revision is greater; at most `ms` milliseconds.
   * @throws OPERATION_NOT_FOUND, BUS_UNAVAILABLE
   */
  async wait(
    id: string,
    options: { readonly after?: number | undefined; readonly ms: number; readonly signal: AbortSignal },
  ): Promise<Operation> {
    const over = AbortSignal.any([
      options.signal,
      this.#stop.signal,
      AbortSignal.timeout(Math.max(1, Math.ceil(options.ms))),
    ]);
    for (;;) {
      let changed = false;
      const next = Promise.withResolvers<void>();
      const listener = this.#catalogue.onEntry((other) => {
        if (other !== id) return;
        changed = true;
        next.resolve();
      });
      try {
        const operation = this.#view(await this.#folded(id));
        const { after } = options;
        const reached = after === undefined ? isSettled(operation) : operation.revision > after || isSettled(operation);
        if (reached || over.aborted) return operation;
        if (!changed)
          await untilAborted(over, Promise.race([next.promise, this.#options.clock.sleep(LOOK_AGAIN_MS, over)]));
      } finally {
        await listener.stop();
      }
    }
  }

  /** Asks something of an operation. @throws OPERATION_NOT_FOUND, OPERATION_STATE, LOCK_HELD, CONFLICT, BUS_UNAVAILABLE */
  async control(
    id: string,
    request: ControlVerb,
    who: {
      readonly by: string;
      readonly user: string | null;
      readonly reason: string | null;
      readonly revision?: number | undefined;
    },
  ): Promise<Operation> {
    const { clock } = this.#options;
    const folded = await requestControl(
      { journal: this.#journal, clock, locks: this.#requireLocks() },
      id,
      request,
      who,
    );
    // A run that has ended or lost the operation meanwhile says so elsewhere.
    await this.#runners
      .get(id)
      ?.refresh()
      .catch(() => undefined);
    // What was asked of an operation that had ended has no owner who could see it.
    if (request === "rollback") this.#adoptSoon(id);
    return this.#view(folded);
  }

  /** Submits the operation again for the targets on which it failed. @throws OPERATION_STATE, and as the handler does */
  async retry(id: string, context: RequestContext): Promise<Operation> {
    const folded = await this.#folded(id);
    const { created } = folded;
    const definition = this.#definitions.get(created.type);
    const field = definition?.spec.durable?.targets;
    const failed = this.#view(folded).targets.filter(({ status }) => !["ok", "unchanged"].includes(status));
    if (!definition || !field || !folded.endedAt || failed.length === 0)
      throw new DvError("OPERATION_STATE", `${id} has no failed targets that could be tried again.`);
    const input = { ...created.input, ...created.options, plan: undefined, mode: "apply", sample: 0 };
    const targets = failed.map((target) => target.id).join(",");
    return await this.#submit(definition, { ...input, [field]: targets }, context, id);
  }

  /** What an operation waits for. @throws OPERATION_NOT_FOUND, BUS_UNAVAILABLE */
  async explain(id: string): Promise<{ state: Operation["state"]; waits: Wait[] }> {
    const folded = await this.#folded(id);
    const waits = explainWaits(folded, {
      blockers: this.#locks?.blockersOf(id) ?? [],
      ownerAlive: !this.#owners.isGone(folded.owner),
      knownHere: this.#knows(folded),
      runner: this.#runners.get(id),
    });
    return { state: folded.state, waits };
  }

  async #submit(
    definition: Definition<never>,
    input: Record<string, unknown>,
    context: RequestContext,
    retryOf: string | null = null,
  ): Promise<Operation> {
    const waits = this.waitsFor;
    if (waits !== undefined) throw new DvError("UNAVAILABLE", `The engine still waits for ${waits}.`);
    if (definition.spec.durable?.mostPerHour !== undefined) this.#requireCatalogue();
    const { bus, directory, clock, log, audit, gate } = this.#options;
    const submitter = new Submitter({
      journal: this.#journal,
      audit,
      gate,
      clock,
      owner: this.#owners.self,
      settle: async () => directory.settle?.(),
      reader: (signal) => createReader({ bus, directory, clock, log }, signal, context),
      acceptedLately: (type) => this.#catalogue.acceptedSince(type, clock.now() - HOUR_MS),
      existing: (id) => this.#catalogue.read(id),
    });
    const submitted = await submitter.submit(definition, input, context, retryOf);
    if ("answer" in submitted) return submitted.answer;
    if ("existing" in submitted) return this.#accepted(submitted.existing);
    const runner = this.#run(submitted.log, definition);
    await runner.decided;
    return this.#accepted(submitted.log.state);
  }

  /** The operation, unless it was refused; then why. */
  #accepted(folded: Folded): Operation {
    const { state, error, created } = folded;
    if (state !== "refused" || !error) return this.#view(folded);
    const details = { ...error.details, operation: created.operation };
    throw new DvError(error.code as never, error.message, { kind: error.kind, details });
  }

  #run(log: OperationLog, definition: Definition<never>): Runner {
    const runner = new Runner(this.#runnerDeps(log, definition), log);
    this.#runners.set(log.id, runner);
    const { log: logger } = this.#options;
    runner
      .run()
      .catch((error: unknown) => {
        if (this.#stop.signal.aborted) return;
        const about = { operation: log.id, cause: causeChain(error) };
        if (error instanceof OwnershipLost) logger.info(about, "operation: another instance has taken it over");
        else logger.error(about, "operation: its run was interrupted; it will be taken up again");
      })
      .finally(() => {
        if (this.#runners.get(log.id) === runner) this.#runners.delete(log.id);
      });
    return runner;
  }

  #runnerDeps(log: OperationLog, definition: Definition<never>): RunnerDeps {
    const { bus, directory, clock, log: logger, audit, patience = PATIENCE } = this.#options;
    const { created } = log.state;
    const about = { actor: created.actor, ...(created.requestId ? { requestId: created.requestId } : {}) };
    const reader = (signal: AbortSignal) => createReader({ bus, directory, clock, log: logger }, signal, about);
    return {
      definition,
      bus,
      locks: this.#requireLocks(),
      audit,
      directory,
      clock,
      logger,
      patience,
      waitMs: parseWait(created.options),
      reader,
      replan: async (signal) => {
        await directory.settle?.();
        return completePlan(
          await definition.plan(created.input as never, reader(signal), created.options),
          created.options,
          definition.steps,
        );
      },
    };
  }

  /** Takes over what has lost its owner; also what this instance itself has let go. */
  async #sweep(): Promise<void> {
    const { clock } = this.#options;
    while (!this.#stop.signal.aborted) {
      await clock.sleep(SWEEP_MS, this.#stop.signal);
      if (this.#stop.signal.aborted || this.waitsFor !== undefined) continue;
      const orphans = [...this.#catalogue.open()].filter(([id, folded]) => this.#isOrphan(id, folded));
      for (const [id] of orphans) this.#adoptSoon(id);
    }
  }

  #adoptSoon(id: string): void {
    if (this.#adopting.has(id)) return;
    this.#adopting.add(id);
    this.adopt(id)
      .catch((error: unknown) => {
        if (error instanceof OwnershipLost) return;
        this.#options.log.warn({ operation: id, cause: causeChain(error) }, "operation: not adopted");
      })
      .finally(() => this.#adopting.delete(id));
  }

  #isOrphan(id: string, folded: Folded): boolean {
    if (this.#runners.has(id) || !this.#knows(folded)) return false;
    return folded.owner === this.#owners.self || this.#owners.isGone(folded.owner);
  }

  #knows({ created }: Folded): boolean {
    return this.#definitions.get(created.type)?.spec.durable?.version === created.version;
  }

  /** Number of operations that this instance runs now. */
  get running(): number {
    return this.#runners.size;
  }

  /**
   * Takes an operation over, whoever has it, and goes on with it; without effect when it is closed, unknown or here already.
   * @throws OwnershipLost, BUS_UNAVAILABLE
   */
  async adopt(id: string): Promise<void> {
    const folded = await this.#catalogue.read(id);
    const definition = folded && this.#definitions.get(folded.created.type);
    if (!folded || !definition || folded.closed || this.#runners.has(id)) return;
    const log = await OperationLog.claim(
      { journal: this.#journal, clock: this.#options.clock },
      id,
      this.#owners.self,
      folded,
    );
    if (this.#runners.has(id) || this.#stop.signal.aborted) return;
    this.#options.log.info({ operation: id, epoch: log.epoch }, "operation: adopted");
    this.#run(log, definition);
  }

  #onEntry(id: string, entry: JournalEntry): void {
    const runner = this.#runners.get(id);
    if (runner && entry.seq > runner.log.state.seq) runner.poke();
  }

  async #isLive(id: string): Promise<boolean> {
    const known = this.#catalogue.isLive(id);
    if (known !== undefined) return known;
    const folded = await this.#catalogue.read(id);
    return folded !== undefined && !folded.closed;
  }

  async #folded(id: string): Promise<Folded> {
    // The picture of the stream may lag behind on a server whose reader starts anew; the log itself does not.
    const own = this.#runners.get(id)?.log.state;
    const seen = this.#catalogue.open().get(id);
    const folded = own && own.seq >= (seen?.seq ?? 0) ? own : await this.#catalogue.read(id);
    if (!folded) throw new DvError("OPERATION_NOT_FOUND", `No operation ${id} is known.`);
    return folded;
  }

  #view(folded: Folded): Operation {
    return operationView(folded);
  }

  #requireCatalogue(): void {
    if (this.#catalogue.waitsFor === undefined) return;
    throw new DvError("UNAVAILABLE", "The log of operations has not been read to its end yet; try again in a moment.");
  }

  #requireLocks(): LockTable {
    if (!this.#locks) throw new DvError("UNAVAILABLE", "The locks cannot be read yet.");
    return this.#locks;
  }
}

function isSettled(operation: Operation): boolean {
  return FINAL_STATES.has(operation.state) || operation.state === "stuck";
}

async function untilAborted(signal: AbortSignal, work: Promise<void>): Promise<void> {
  if (signal.aborted) return;
  const aborted = Promise.withResolvers<void>();
  const onAbort = () => aborted.resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  await Promise.race([work, aborted.promise]);
  signal.removeEventListener("abort", onAbort);
}
