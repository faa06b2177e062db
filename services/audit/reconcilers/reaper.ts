// SPDX-License-Identifier: Apache-2.0
/**
 * Closes intents whose author is gone: one server by lease. An intent is left alone while its operation can still end by itself.
 * The outcome is what the operation's log recorded at its end, otherwise `unknown`.
 */
import { auditContract, type RecordBody, type RecordResult } from "@debvisor/proto-events/audit";
import { OperationId } from "@debvisor/proto-events/primitives";
import type { AuditEmitter } from "@debvisor/shared/audit/emitter";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { causeChain, toDvError } from "@debvisor/shared/errors";
import { holdLease, type Lease } from "@debvisor/shared/leases";
import type { Logger } from "@debvisor/shared/log";
import type { AuditConfig } from "../config.ts";
import type { OpenIntent } from "../model/open-intents.ts";
import { operationEnd } from "../model/operation-end.ts";
import type { Trail } from "./trail.ts";

/** Most intents closed in one round. */
const MAX_ROUND = 100;

export interface ReaperDeps {
  readonly bus: Bus;
  readonly trail: Trail;
  readonly emitter: AuditEmitter;
  readonly owner: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly config: Pick<AuditConfig, "orphanAfterMs" | "leaseSeconds">;
}

/** Starts wishing for the lease. */
export function startReaper(deps: ReaperDeps): Closable {
  const rounds = new Set<Promise<void>>();
  const lease = holdLease(deps.bus, "audit-reaper", deps.owner, {
    ttlSeconds: deps.config.leaseSeconds,
    log: deps.log,
    clock: deps.clock,
    onHeld: (signal) => {
      const round = run(deps, () => lease, signal).finally(() => rounds.delete(round));
      rounds.add(round);
    },
    onLost: () => undefined,
  });
  return {
    stop: async () => {
      await lease.stop();
      await Promise.race([Promise.all(rounds), deps.clock.sleep(1_000)]);
    },
  };
}

async function run(deps: ReaperDeps, lease: () => Lease, signal: AbortSignal): Promise<void> {
  const { clock, trail, log, config } = deps;
  const lookMs = Math.min(5_000, config.orphanAfterMs / 2);
  while (!signal.aborted) {
    try {
      const due = trail.caughtUp ? trail.open.olderThan(config.orphanAfterMs, clock.monotonic()) : [];
      for (const intent of due.slice(0, MAX_ROUND)) if (!signal.aborted) await close(deps, intent, lease);
    } catch (error) {
      log.warn({ error: causeChain(error) }, "audit: an intent without outcome could not be closed yet");
    }
    await clock.sleep(lookMs, signal);
  }
}

/** Closes one intent, if nothing of it lives. @throws BUS_UNAVAILABLE, AUDIT_UNAVAILABLE */
async function close(deps: ReaperDeps, intent: OpenIntent, lease: () => Lease): Promise<void> {
  const { bus, trail, emitter, log } = deps;
  const result = await resultOf(deps, intent);
  // The outcome may have been stored while this looked: read on to the end of the trail before deciding.
  await trail.refresh(2_000);
  const { lastSeq } = await trail.journal.range();
  if (!result || trail.size < lastSeq || !trail.open.has(intent) || !lease().held) return;
  const { ref, actor, action, emitter: author } = intent.record;
  const stored = await emitter.record(outcomeOf(intent, result));
  await trail.grown(stored.seq - 1, 2_000);
  if (result.status !== "unknown") return;
  log.warn({ ref, action, emitter: author }, "audit: an intent had no outcome and was closed as unknown");
  try {
    const options = { subject: ref, patienceMs: 3_000 };
    await bus.publishEvent(auditContract, "intent.orphaned", { ref, action, actor, emitter: author }, options);
  } catch (error) {
    log.warn(
      { ref, code: toDvError(error).code },
      "audit: an orphaned intent was not announced; its outcome is recorded",
    );
  }
}

/** How it ended; undefined while it may still end by itself. @throws BUS_UNAVAILABLE */
async function resultOf({ bus, clock, config }: ReaperDeps, { record }: OpenIntent): Promise<RecordResult | undefined> {
  const unknown = "Whoever began it is gone; nobody can tell how far it got.";
  const operation = record.operation ?? record.ref;
  if (!OperationId.safeParse(operation).success)
    return { status: "unknown", code: null, exitCode: 1, message: unknown };
  const end = operationEnd(await bus.journal("DV_OPS").read(operation));
  if (end.state === "lives") return undefined;
  if (end.state === "none") return { status: "unknown", code: null, exitCode: 1, message: unknown };
  // Its owner writes the outcome right after the end.
  if (clock.now() - end.atMs < config.orphanAfterMs) return undefined;
  const exitCode = end.status === "ok" || end.status === "unchanged" ? 0 : 5;
  return { status: end.status, code: end.code, exitCode, message: end.message };
}

function outcomeOf({ record }: OpenIntent, result: RecordResult): RecordBody {
  const { ref, actor, user, source, action, mode, targets, args, reason, override, planDigest } = record;
  const { operation, requestId, traceId } = record;
  return {
    kind: "outcome",
    ...{ ref, actor, user, source, action, mode, targets, args, reason, override, planDigest },
    ...{ operation, requestId, traceId, result },
  };
}
