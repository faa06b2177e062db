// SPDX-License-Identifier: Apache-2.0
/**
 * The part of an operation between being accepted and its first step: locks, then the plan once more under the locks, because
 * the world may have moved between the first look and the grant.
 */
import type { OperationState } from "@debvisor/proto-events/durable";
import type { Lock } from "@debvisor/proto-events/operation";
import { OperationId } from "@debvisor/proto-events/primitives";
import type { WireError } from "@debvisor/proto-events/replies";
import { z } from "zod";
import { DvError, toDvError } from "../errors.ts";
import type { Fences } from "./lock-table.ts";
import type { OperationLog } from "./operation-log.ts";
import { requireChecks, requireDigest } from "./planning.ts";
import type { RunnerDeps } from "./runner-deps.ts";

/** `end`: how the operation ends without having begun. */
export interface LockingResult {
  readonly end?: { readonly state: OperationState; readonly error: WireError | null };
}

export interface LockingOptions {
  readonly waitMs: number | undefined;
  readonly leftMs: number;
  readonly stop: AbortSignal;
  /** Aborts the controller when a cancel is asked for. */
  readonly watch: (abort: AbortController) => Promise<void>;
  readonly onWaiting: () => void;
}

/** A plan may name other resources than the one before; more often than this it is given up. */
const MOST_PLANS = 4;

/** What a refusal says about who is in the way. */
const HeldBy = z.object({ resource: z.string(), holder: z.object({ operation: OperationId, actor: z.string() }) });

type Deps = Pick<RunnerDeps, "locks" | "clock" | "replan" | "logger">;

/** Takes the locks of an operation that is queued, or takes up those of one that was under way. @throws OwnershipLost */
export async function acquireLocks(deps: Deps, log: OperationLog, options: LockingOptions): Promise<LockingResult> {
  const begun = log.state.state !== "queued" || log.state.undoing;
  if (begun) return await takeUp(deps, log, options.stop);
  for (let plans = 0; plans < MOST_PLANS; plans++) {
    const granted = await acquire(deps, log, options);
    if ("end" in granted) return granted;
    const planned = await planAgain(deps, log, options.stop);
    if (planned.end) return { end: planned.end };
    const { resources } = log.state.created;
    if (resources.every((resource) => resource in granted.fences)) {
      await log.append({ t: "locks", fences: granted.fences });
      return {};
    }
  }
  const error = new DvError("PLAN_STALE", "The world moves faster than the plan can be made.");
  return { end: { state: "refused", error: error.toWire() } };
}

/** What is under way holds its locks; asking again gives their fences. A rollback begins by taking them anew. */
async function takeUp(deps: Deps, log: OperationLog, stop: AbortSignal): Promise<LockingResult> {
  const fences = await deps.locks.acquire(claimOf(log), { wait: true, signal: stop });
  const same = Object.entries(fences).every(([resource, fence]) => log.state.fences[resource] === fence);
  const known = Object.keys(log.state.fences).length === Object.keys(fences).length;
  const held = log.state.state === "paused" || log.state.state === "stuck";
  if ((!same || !known || log.state.state === "queued") && !held) await log.append({ t: "locks", fences });
  return {};
}

async function acquire(
  deps: Deps,
  log: OperationLog,
  { waitMs, leftMs, stop, watch, onWaiting }: LockingOptions,
): Promise<{ readonly fences: Fences } | (LockingResult & { readonly end: NonNullable<LockingResult["end"]> })> {
  const waits = waitMs !== undefined;
  const over = new AbortController();
  const cancelled = new AbortController();
  const startedAt = deps.clock.monotonic();
  const limitMs = Math.min(waitMs ?? 0, leftMs);
  const signal = AbortSignal.any([over.signal, cancelled.signal, stop]);
  const timer = waits ? deps.clock.sleep(limitMs, signal).then(() => over.abort()) : undefined;
  const watching = waits ? watch(cancelled) : undefined;
  watching?.catch(() => over.abort());
  let told: Promise<void> = Promise.resolve();
  // Told once: with a thousand waiters a record at each change of the holder would be a thousand. `why` knows the present one.
  const onWait = (blocker: Lock) => {
    if (log.state.waiting) return onWaiting();
    told = told.then(() => (log.state.waiting ? undefined : log.append(waitingRecord(blocker, true)))).then(onWaiting);
    told.catch(() => over.abort());
  };
  try {
    const fences = await deps.locks.acquire(claimOf(log), { wait: waits, signal, onWait });
    await told;
    return { fences };
  } catch (error) {
    stop.throwIfAborted();
    await told;
    await watchingEnd(watching, cancelled.signal);
    if (cancelled.signal.aborted) return { end: { state: "cancelled", error: null } };
    if (over.signal.aborted) return { end: { state: "refused", error: waitedInVain(deps, log, startedAt) } };
    const failure = toDvError(error);
    if (failure.code !== "LOCK_HELD") throw error;
    const blocker = HeldBy.safeParse(failure.details);
    if (blocker.success) {
      const { resource, holder } = blocker.data;
      await log.append({ t: "waiting", resource, holder: holder.operation, holderActor: holder.actor, waits: false });
    }
    return { end: { state: "refused", error: failure.toWire() } };
  } finally {
    over.abort();
    cancelled.abort();
    await timer;
  }
}

/** A watch that failed has lost the ownership, and that has to come out. */
async function watchingEnd(watching: Promise<void> | undefined, cancelled: AbortSignal): Promise<void> {
  if (watching && cancelled.aborted) await watching;
}

function waitedInVain(deps: Deps, log: OperationLog, startedAt: number): WireError {
  const [blocker] = deps.locks.blockersOf(log.id);
  const seconds = Math.round((deps.clock.monotonic() - startedAt) / 1_000);
  const holder = blocker
    ? `; ${blocker.operation} (${blocker.type}) of ${blocker.actor} still holds ${blocker.resource}`
    : "";
  return new DvError("LOCK_HELD", `Waited ${seconds} s for a lock${holder}.`).toWire();
}

async function planAgain(deps: Deps, log: OperationLog, stop: AbortSignal): Promise<LockingResult> {
  const { created } = log.state;
  try {
    const { plan, steps, resources } = await deps.replan(stop);
    if (plan.digest === created.plan.digest) return {};
    requireDigest(plan, created.options.plan);
    requireChecks(plan);
    await log.append({ t: "replanned", plan, steps: [...steps], resources: [...resources] });
    return {};
  } catch (error) {
    stop.throwIfAborted();
    if (!(error instanceof DvError) || error.code === "BUS_UNAVAILABLE") throw error;
    return { end: { state: "refused", error: error.toWire() } };
  }
}

function claimOf(log: OperationLog) {
  const { created } = log.state;
  return {
    operation: log.id,
    type: created.type,
    actor: created.actor,
    reason: created.options.reason ?? null,
    priority: created.options.priority,
    expiresAt: created.deadlineAt,
    resources: created.resources,
  };
}

function waitingRecord({ resource, operation, actor }: Lock, waits: boolean) {
  return { t: "waiting" as const, resource, holder: operation, holderActor: actor, waits };
}
