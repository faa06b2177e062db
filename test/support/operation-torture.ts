// SPDX-License-Identifier: Apache-2.0
/**
 * The torture of operations (RULES.md 25): runs one operation against faults and looks at the world afterwards. What is there must
 * be as before or as after, nothing else, and log, ledger, audit trail and locks must agree with it (`operation-torture-oracle.ts`).
 * Every failure names its fault; `DV_TORTURE=<part of its name>` runs that alone.
 */
import type { OperationState } from "@debvisor/proto-events/durable";
import type { Folded } from "@debvisor/shared/operation/fold";
import type { Patience } from "@debvisor/shared/operation/step-runner";
import { newOperationId } from "@debvisor/shared/operation/submit";
import { type Around, failed } from "./operation-torture-around.ts";
import { type Instance, TORTURE_PATIENCE, type TortureBench } from "./operation-torture-bench.ts";
import { type Finding, judge } from "./operation-torture-oracle.ts";
import type { Hook } from "./operation-torture-ports.ts";
import { serviceOfType, type TortureService } from "./operation-torture-services.ts";
import type { TortureCase, TortureWorld } from "./operation-torture-worlds.ts";
import { waitFor } from "./wait-for.ts";

/** What is done with the operation: let it succeed, fail at its last step, cancel it there, or roll it back once it has ended. */
export type Drive = "apply" | "fail" | "cancel" | "rollback";

/** One run as the fault sees it. */
export interface Scene {
  readonly bench: TortureBench;
  readonly id: string;
  readonly one: TortureCase;
  /** Another instance takes the operation over now, whoever has it; resolves when it is closed, or there is nothing to adopt. */
  takeOver(): Promise<void>;
  /** What failed for good works again. */
  healed: boolean;
}

/** A fault. */
export interface Fault {
  /** Row of the table. */
  readonly group: string;
  readonly name: string;
  readonly drive: Drive;
  /** In the way of the first instance, of its successor, of that one's successor. */
  readonly hooks?: (scene: Scene) => readonly Hook[];
  readonly around?: (scene: Scene) => Around;
  readonly patience?: Partial<Patience>;
  /** Longest time of an attempt in milliseconds: an answer that cannot come is not waited for as long as in life. */
  readonly timeoutMs?: number;
  /** It has to become stuck; then the cause is removed and somebody continues it. */
  readonly sticks?: boolean;
  /** Before the operation is submitted, and after it has ended. */
  readonly prepare?: (scene: Scene) => void;
  readonly restore?: (scene: Scene) => Promise<void>;
  /** How it has to end when it began, so that nothing passes because nothing happened. */
  readonly ends?: readonly OperationState[];
}

/** What became of one run. */
export interface RunResult {
  readonly fault: Fault;
  readonly finding: Finding;
  readonly state: string;
  readonly wrong: readonly string[];
  /** Calls that the first instance made. */
  readonly calls: readonly string[];
  readonly ms: number;
}

/** Longest time of one run. */
const RUN_MS = 45_000;

/** How often an undo was called, by world and kind of step: a test of undo must prove that it got there. */
export const undoCalls = new Map<string, number>();

/** Runs an operation once, under a fault, and judges what is there then. */
export async function runFault(
  bench: TortureBench,
  world: TortureWorld,
  fault: Fault,
  after: readonly unknown[] | undefined,
): Promise<RunResult & { readonly now: readonly unknown[]; readonly id: string }> {
  const startedAt = performance.now();
  const one = await world.fresh(bench);
  const before = await one.snapshot();
  const run = new Run(bench, world, fault, one);
  fault.prepare?.(run.scene);
  const problem = await run.toEnd();
  await fault.restore?.(run.scene);
  await one.settled?.();
  const folded = await bench.read(run.id);
  const now = await one.snapshot();
  const reference = after ?? Object.values(now);
  const { finding, wrong } = await judge(bench, { world, one, id: run.id, before, now, after: reference, folded });
  const log = bench.entries(run.id).map(({ text }) => shortened(text));
  const faults = [...(problem ? [problem] : []), ...wrong, ...empty(fault, folded, world)];
  const { error } = folded ?? {};
  const shown = faults.length > 0 && error ? [...faults, `its error: ${error.code} ${error.message}`] : faults;
  if (world.shares && folded?.closed) await freeLocks(bench, folded);
  bench.forget(run.id);
  return {
    fault,
    finding,
    state: folded?.state ?? "never began",
    wrong: shown.length > 0 ? [...shown, ...log] : [],
    calls: run.calls,
    ms: Math.round(performance.now() - startedAt),
    now: Object.values(now),
    id: run.id,
  };
}

/** A run that did not come as far as its fault proves nothing. */
function empty({ ends, drive }: Fault, folded: Folded | undefined, { seals = false }: TortureWorld): string[] {
  if (!folded) return [];
  if (folded.error?.code === "LOCK_HELD") return [`another run was in the way: ${folded.error.message}`];
  // A cancel that comes after the seal comes too late.
  if (seals && drive === "cancel" && folded.state === "succeeded") return [];
  return ends && !ends.includes(folded.state) ? [`it should be ${ends.join(" or ")}, and is ${folded.state}`] : [];
}

/** What a closed operation was given late is freed at once for the next case, and not by the sweep after 12 s. */
async function freeLocks(bench: TortureBench, { created }: Folded): Promise<void> {
  const { operation, type, actor, resources } = created;
  const claim = { operation, type, actor, reason: null, priority: 5, expiresAt: null, resources };
  await bench.locks.acquire(claim, { wait: false });
  await bench.locks.release(operation);
}

function shortened(text: string): string {
  const { t, epoch, changes, phase, state } = JSON.parse(text) as Record<string, unknown>;
  const steps = (changes as { step: string; state: string }[] | undefined)?.map((one) => `${one.step}=${one.state}`);
  return `  log: ${String(t)} e${String(epoch)} ${String(steps ?? phase ?? state ?? "")}`;
}

class Run {
  readonly id = newOperationId();
  readonly #bench: TortureBench;
  readonly #world: TortureWorld;
  readonly #service: TortureService;
  readonly #fault: Fault;
  readonly scene: Scene;
  readonly #hooks: readonly Hook[];
  readonly #deadline = performance.now() + RUN_MS;
  readonly #instances: Instance[] = [];
  /** Who applied what is rolled back. */
  #gone: string | undefined;
  #takeOver: Promise<void> | undefined;

  constructor(bench: TortureBench, world: TortureWorld, fault: Fault, one: TortureCase) {
    this.#bench = bench;
    this.#world = world;
    this.#service = serviceOfType(world.type);
    this.#fault = fault;
    const takeOver = () => (this.#takeOver ??= this.#byAnother());
    this.scene = { bench, id: this.id, one, healed: false, takeOver };
    this.#hooks = fault.hooks?.(this.scene) ?? [];
  }

  get calls(): readonly string[] {
    return this.#instances[0]?.ports.calls ?? [];
  }

  /** Runs until the operation is closed. Answers what went wrong on the way. */
  async toEnd(): Promise<string | undefined> {
    try {
      return await this.#toEnd();
    } catch (error) {
      return `the run ended with ${(error as Error).stack ?? String(error)}`;
    } finally {
      for (const instance of this.#instances) void instance.stop();
    }
  }

  async #toEnd(): Promise<string | undefined> {
    if (this.#fault.drive === "rollback") await this.#apply();
    const rounds = this.#fault.drive === "rollback" ? 2 : 1;
    for (let turn = 0; ; turn++) {
      const instance = await this.#begin(turn);
      const begun = turn === 0 ? this.#first(instance) : this.#adopt(instance);
      const end = await this.#endOf(instance, begun, rounds);
      if (end !== "frozen") return end === "over" ? await this.#letGo(instance) : end;
      void instance.stop();
      const folded = await this.#read();
      if (!folded || folded.closed) return undefined;
    }
  }

  /** An undisturbed run, for a rollback afterwards. */
  async #apply(): Promise<void> {
    const instance = await this.#bench.instance({ id: this.id, slot: 2, service: this.#service });
    await instance.submit(this.#world.type, this.scene.one.input);
    await this.#until(() => this.#closed() >= 1, "the operation before the rollback did not end");
    await instance.stop();
    this.#gone = (await this.#read())?.owner;
  }

  #first({ engine, submit }: Instance): Promise<unknown> {
    const who = { by: "tester", user: null, reason: "torture" };
    return this.#fault.drive === "rollback"
      ? engine.control(this.id, "rollback", who)
      : submit(this.#world.type, this.scene.one.input);
  }

  /** Adopts; what fails because the bus is away is tried again, as the sweep of an engine does. */
  async #adopt(instance: Instance): Promise<void> {
    while (!instance.ports.isFrozen && performance.now() < this.#deadline) {
      try {
        return await instance.engine.adopt(this.id);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  async #begin(turn: number): Promise<Instance> {
    const hook = this.#hooks[turn];
    const instance = await this.#bench.instance({
      id: this.id,
      slot: turn,
      service: this.#service,
      around: this.#around(),
      patience: { ...TORTURE_PATIENCE, ...this.#fault.patience },
      timeoutMs: this.#fault.timeoutMs,
      isGone: (owner) => owner === this.#gone,
      ...(hook ? { hook } : {}),
    });
    this.#instances.push(instance);
    return instance;
  }

  async #endOf(instance: Instance, begun: Promise<unknown>, rounds: number): Promise<string> {
    const frozen = instance.ports.frozen.then(() => "frozen");
    // What is refused before its first record has no end to wait for.
    const refused = begun.then(
      () => new Promise<never>(() => undefined),
      async () => ((await this.#read()) ? await new Promise<never>(() => undefined) : "over"),
    );
    const stuck = this.#stuck();
    const over = this.#until(() => this.#closed() >= rounds, "it was not closed in time").then(() => "over");
    return await Promise.race([frozen, refused, over, stuck]);
  }

  /** When it has to stick: waits for that, heals, continues; then it is a run like others. */
  async #stuck(): Promise<string> {
    if (this.#fault.sticks && !this.scene.healed) {
      await this.#until(() => this.#records().some(({ phase }) => phase === "stuck"), "it did not become stuck");
      const held = this.#bench.locks.list().some(({ operation }) => operation === this.id);
      this.scene.healed = true;
      await this.#bench.ask(this.id, "continue");
      if (!held) return "it was stuck without its locks";
    }
    return await new Promise<never>(() => undefined);
  }

  /** The instance, and one that was overtaken by it, may have something left to do that must not matter. */
  async #letGo(instance: Instance): Promise<undefined> {
    await this.#takeOver;
    await this.#until(
      () => instance.engine.running === 0 || instance.ports.isFrozen,
      "an instance still runs the operation after its end",
    );
    return undefined;
  }

  async #byAnother(): Promise<void> {
    const folded = await this.#read();
    if (!folded || folded.closed) return;
    const closed = this.#closed();
    const other = await this.#bench.instance({ id: this.id, slot: 1, service: this.#service, around: this.#around() });
    this.#instances.push(other);
    await this.#adopt(other);
    await this.#until(() => this.#closed() > closed, "whoever took it over did not end it");
  }

  #around(): Around {
    const { drive } = this.#fault;
    const { one } = this.scene;
    const own = this.#fault.around?.(this.scene);
    return async (call, real) => {
      const isLast = call.step === one.lastStep && call.direction === "do";
      if (call.direction === "undo") count(`${this.#world.name}/${call.kind}`);
      const answer = await (own ? own(call, real) : real());
      if (isLast && drive === "cancel") await this.#bench.ask(this.id, "cancel").catch(() => undefined);
      if (isLast && drive === "fail") throw failed("after its effect");
      return answer;
    };
  }

  #records(): readonly { t: string; phase?: string }[] {
    return this.#bench.entries(this.id).map(({ text }) => JSON.parse(text) as { t: string; phase?: string });
  }

  #closed(): number {
    return this.#records().filter(({ t }) => t === "closed").length;
  }

  async #read(): Promise<Folded | undefined> {
    while (performance.now() < this.#deadline) {
      try {
        return await this.#bench.read(this.id);
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    throw new Error("the log could not be read");
  }

  async #until(condition: () => boolean, complaint: string): Promise<void> {
    if (condition()) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const stop = this.#bench.onEntry(this.id, () => condition() && resolve());
    const left = this.#deadline - performance.now();
    try {
      await Promise.race([promise, waitFor(condition, left, () => complaint)]);
    } finally {
      stop();
    }
  }
}

function count(key: string): void {
  undoCalls.set(key, (undoCalls.get(key) ?? 0) + 1);
}

/** How many calls the first instance makes when nothing is in the way, and how many of them are appends to the log. */
export interface Undisturbed {
  readonly calls: Readonly<Record<Drive, number>>;
  readonly appends: Readonly<Record<Drive, number>>;
}

/** What a world can be asked for: what cannot be undone cannot be rolled back. */
export function drivesOf({ undoable }: TortureWorld): readonly Drive[] {
  return undoable ? ["apply", "fail", "cancel", "rollback"] : ["apply", "fail", "cancel"];
}

/** Runs a world undisturbed once for each drive, then against faults, one after the other. */
export async function torture(
  bench: TortureBench,
  world: TortureWorld,
  faults: (undisturbed: Undisturbed) => readonly Fault[],
  drives: readonly Drive[] = drivesOf(world),
): Promise<readonly RunResult[]> {
  const calls: Record<Drive, number> = { apply: 0, fail: 0, cancel: 0, rollback: 0 };
  const appends = { ...calls };
  const results: RunResult[] = [];
  const ids: string[] = [];
  let after: readonly unknown[] | undefined;
  for (const drive of drives) {
    const result = await runFault(bench, world, { group: "none", name: "none", drive }, after);
    after ??= result.now;
    calls[drive] = result.calls.length;
    appends[drive] = result.calls.filter((port) => port === "log.append").length;
    results.push(result);
    ids.push(result.id);
  }
  const only = process.env["DV_TORTURE"];
  for (const fault of faults({ calls, appends })) {
    if (only !== undefined && !`${world.name}/${fault.name}`.includes(only)) continue;
    const result = await runFault(bench, world, fault, after);
    results.push(result);
    ids.push(result.id);
  }
  await locksFree(bench, ids);
  return results;
}

/** Locks that an ended operation was given by a late call are freed by the sweep, after two looks that are 10 s apart. */
async function locksFree(bench: TortureBench, ids: readonly string[]): Promise<void> {
  const own = new Set(ids);
  const held = () =>
    bench.locks
      .list()
      .filter(({ operation, waiting }) => own.has(operation) || waiting.some((waiter) => own.has(waiter.operation)));
  await waitFor(
    () => held().length === 0,
    20_000,
    () =>
      `locks of ended operations: ${held()
        .map(({ resource, operation }) => `${resource} (${operation})`)
        .join(", ")}`,
  );
}
