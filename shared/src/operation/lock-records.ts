// SPDX-License-Identifier: Apache-2.0
/**
 * What bucket dv_locks holds: one entry for each lock and one for each that waits for it. An entry that is over is replaced by
 * a mark that expires by itself, because a deletion would stay in the bucket for good.
 */
import { createHash } from "node:crypto";
import { Actor, OperationId, Timestamp } from "@debvisor/proto-events/primitives";
import { z } from "zod";

const Party = {
  resource: z.string().min(1),
  operation: OperationId,
  type: z.string(),
  actor: Actor,
  reason: z.string().nullable(),
  /** When it was granted, or asked for. */
  since: Timestamp,
  expiresAt: Timestamp.nullable(),
};

/** A lock that is held. `queued` is the revision of the waiter's entry that it was granted to, null when it did not wait. */
export const HeldRecord = z.object({ kind: z.literal("held"), ...Party, queued: z.number().int().nullable() });
export type HeldRecord = z.output<typeof HeldRecord>;

/** A place in a queue. */
export const WaiterRecord = z.object({ kind: z.literal("waits"), ...Party, priority: z.number().int() });
export type WaiterRecord = z.output<typeof WaiterRecord>;

/** Nobody holds it, or nobody waits here any more. */
const GoneRecord = z.object({ kind: z.literal("gone"), resource: z.string().min(1) });

/** A value of the bucket. */
export const LockRecord = z.discriminatedUnion("kind", [HeldRecord, WaiterRecord, GoneRecord]);
export type LockRecord = z.output<typeof LockRecord>;

/** Time after which the mark of an entry that is over goes, in seconds. */
export const GONE_TTL_SECONDS = 60;

/** Who asks, as far as it is kept. */
export interface Asker {
  readonly operation: string;
  readonly type: string;
  readonly actor: string;
  readonly reason: string | null;
  readonly priority: number;
  readonly expiresAt: string | null;
}

/** Key of a lock. Resources hold characters that keys may not, so the key is a digest and the value names the resource. */
export function lockKey(resource: string): string {
  return `lock.${digest(resource)}`;
}

/** Key of an operation's place in a resource's queue. */
export function waiterKey(resource: string, operation: string): string {
  return `wait.${digest(resource)}.${digest(operation)}`;
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 40);
}

/** The entry of a lock that is granted to whoever asks, or to a waiter whose entry has the revision `queued`. */
export function held(
  resource: string,
  { operation, type, actor, reason, expiresAt }: Omit<Asker, "priority">,
  since: string,
  queued: number | null,
): HeldRecord {
  return { kind: "held", resource, operation, type, actor, reason, since, expiresAt, queued };
}

/** The entry of a waiter. */
export function waits(resource: string, asker: Asker, since: string): WaiterRecord {
  const { operation, type, actor, reason, priority, expiresAt } = asker;
  return { kind: "waits", resource, operation, type, actor, reason, since, expiresAt, priority };
}
