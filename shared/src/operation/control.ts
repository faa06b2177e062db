// SPDX-License-Identifier: Apache-2.0
/**
 * Requests to an operation that exists: cancel, pause, continue, rollback. They are records of its log, written by whoever is
 * asked and acted upon by the owner; so they survive both.
 */
import { randomBytes } from "node:crypto";
import type { Journal } from "../bus/bus.ts";
import { type Clock, timestamp } from "../clock.ts";
import { DvError, toDvError } from "../errors.ts";
import { isSealed, isUndoable } from "./ending.ts";
import { apply, type Folded } from "./fold.ts";
import type { LockTable } from "./lock-table.ts";
import type { ControlVerb, LogRecord } from "./log-record.ts";
import { foldEntries } from "./operation-log.ts";

export interface ControlDeps {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly locks: LockTable;
}

export interface ControlRequest {
  readonly by: string;
  readonly user: string | null;
  readonly reason: string | null;
  readonly revision?: number | undefined;
}

const PATIENCE_MS = 5_000;
const RETRY_MS = 50;

/**
 * Appends the request and returns the state with it. What is already so is no error: a repeat of the same request changes
 * nothing. @throws OPERATION_NOT_FOUND, OPERATION_STATE, LOCK_HELD, CONFLICT, BUS_UNAVAILABLE
 */
export async function requestControl(
  deps: ControlDeps,
  id: string,
  request: ControlVerb,
  who: ControlRequest,
): Promise<Folded> {
  const { clock } = deps;
  const deadline = clock.monotonic() + PATIENCE_MS;
  const rid = randomBytes(16).toString("hex");
  for (;;) {
    const left = deadline - clock.monotonic();
    try {
      const folded = await tryControl(deps, id, request, who, rid, left > 0);
      if (folded) return folded;
    } catch (error) {
      if (!mayRepeat(error, who) || left <= 0) throw error;
    }
    await clock.sleep(RETRY_MS);
  }
}

/** One attempt; undefined when it is worth another one in a moment. */
async function tryControl(
  deps: ControlDeps,
  id: string,
  request: ControlVerb,
  who: ControlRequest,
  rid: string,
  patient: boolean,
): Promise<Folded | undefined> {
  const { journal, clock } = deps;
  const entries = await journal.read(id);
  const folded = foldEntries(entries);
  if (!folded) throw new DvError("OPERATION_NOT_FOUND", `No operation ${id} is known.`);
  if (entries.some(({ text }) => text.includes(rid)) || isSoAlready(folded, request)) return folded;
  requireRevision(folded, who.revision);
  if (patient && closesSoon(folded, request)) return undefined;
  requireState(folded, request);
  if (request === "rollback") await lockForRollback(deps, folded);
  const record = recordOf(folded, request, who, rid, timestamp(clock));
  const seq = await journal.append(id, JSON.stringify(record), { expected: folded.seq, id: rid });
  apply(folded, { seq, timeMs: clock.now(), record });
  return folded;
}

/** Between its end and the moment at which its locks are free, an operation cannot be begun backwards. */
function closesSoon({ endedAt, closed }: Folded, request: ControlVerb): boolean {
  return request === "rollback" && endedAt !== null && !closed;
}

/** Somebody else appended meanwhile, or the bus did not answer. A caller that named the revision wants to know of the former. */
function mayRepeat(error: unknown, { revision }: ControlRequest): boolean {
  const { code } = toDvError(error);
  return code === "BUS_UNAVAILABLE" || (code === "CONFLICT" && revision === undefined);
}

function recordOf(
  { epoch }: Folded,
  request: ControlVerb,
  { by, user, reason }: ControlRequest,
  rid: string,
  at: string,
): LogRecord {
  return { t: "request", v: 1, rid, epoch, at, request, by, user, reason };
}

function isSoAlready(folded: Folded, request: ControlVerb): boolean {
  if (request === "cancel") {
    // A cancel of one that is stuck gives it up, also when it is stuck because it was cancelled.
    const goesBack = folded.state !== "stuck" && (folded.cancel !== null || folded.undoing);
    return folded.state === "cancelled" || (!folded.endedAt && goesBack);
  }
  if (request === "pause") return !folded.endedAt && folded.pause !== null;
  if (request === "confirm") return folded.confirmed;
  if (request === "continue")
    return !folded.endedAt && folded.pause === null && ["running", "undoing"].includes(folded.state);
  return !folded.endedAt && folded.undoing;
}

function requireRevision({ created, seq }: Folded, revision: number | undefined): void {
  if (revision === undefined || revision === seq) return;
  throw new DvError("CONFLICT", `${created.operation} is at revision ${seq}, not ${revision}.`);
}

function requireState(folded: Folded, request: ControlVerb): void {
  const id = folded.created.operation;
  const refuse = (why: string): never => {
    throw new DvError("OPERATION_STATE", `${id} is ${folded.state}: ${why}.`, { details: { state: folded.state } });
  };
  if (request === "rollback") {
    if (!folded.endedAt) refuse("it has not ended; cancel undoes it");
    if (!isUndoable(folded)) refuse("there is nothing that could be undone");
    if (!folded.closed) refuse("its end is not recorded yet; try again in a moment");
    return;
  }
  if (folded.endedAt) refuse(`it has ended and cannot ${request}`);
  if (request === "cancel" && folded.state !== "stuck" && isSealed(folded))
    refuse("what it has begun cannot be undone; it goes on to its end");
  if (request === "confirm" && folded.state !== "trying") refuse("it is not being tried");
  if (request === "pause" && (folded.undoing || folded.state === "trying"))
    refuse("there is no step before which it could hold");
}

/** Whoever holds the resources now would be disturbed by the undo; so the locks come before the request. */
async function lockForRollback({ locks }: ControlDeps, { created }: Folded): Promise<void> {
  const { operation, type, actor, resources, options } = created;
  await locks.acquire(
    { operation, type, actor, reason: options.reason ?? null, priority: options.priority, expiresAt: null, resources },
    { wait: false },
  );
}
