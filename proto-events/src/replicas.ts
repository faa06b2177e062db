// SPDX-License-Identifier: Apache-2.0
/**
 * What is known of the replicas of streams besides what the servers say of themselves: the entries of bucket `dv_replicas`. Entry
 * `read.STREAM` says what the latest full reading found, `rebuild` which server rebuilds replicas now, `asked` that somebody wants
 * a reading, `alarm` what is bad at present.
 */
import { z } from "zod";
import { Actor, NodeId, Timestamp } from "./primitives.ts";

/** Name of a server on the bus: node id and incarnation. */
const ServerName = z.string().min(1).max(128);

/** What reading every replica of a stream found. */
export const ReadingEntry = z.object({
  kind: z.literal("reading"),
  stream: z.string(),
  /** When the reading ended. */
  at: Timestamp,
  /** First and last sequence that was read. */
  from: z.number().int().nonnegative(),
  to: z.number().int().nonnegative(),
  /** Messages of the replica that had the most. */
  messages: z.number().int().nonnegative(),
  ms: z.number().int().nonnegative(),
  /** Servers whose replica has messages that cannot be read or that differ from those of two others. */
  damaged: z.array(z.object({ server: ServerName, count: z.number().int().positive(), first: z.number().int() })),
  /** Sequences of which nobody can say which replica is right. */
  unclear: z.number().int().nonnegative(),
});
export type ReadingEntry = z.output<typeof ReadingEntry>;

/** The one rebuild that is under way. */
export const RebuildEntry = z.object({
  kind: z.literal("rebuild"),
  /** 32 hexadecimal digits. */
  id: z.string(),
  server: ServerName,
  node: NodeId,
  streams: z.array(z.string()).min(1),
  askedAt: Timestamp,
  /** `asked`: by the job that checks. `done`: thrown away, and the server is back. `refused`: nothing was thrown away. */
  state: z.enum(["asked", "done", "refused"]),
  why: z.string(),
});
export type RebuildEntry = z.output<typeof RebuildEntry>;

/** Somebody wants every replica to be read now. */
export const AskedEntry = z.object({ kind: z.literal("asked"), at: Timestamp, actor: Actor });
export type AskedEntry = z.output<typeof AskedEntry>;

/** What is bad at present, in words: `stream on server: verdict`. Written when it changes. */
export const AlarmEntry = z.object({ kind: z.literal("alarm"), at: Timestamp, bad: z.array(z.string()).max(500) });
export type AlarmEntry = z.output<typeof AlarmEntry>;

/** An entry of the bucket. */
export const ReplicaEntry = z.discriminatedUnion("kind", [ReadingEntry, RebuildEntry, AskedEntry, AlarmEntry]);
export type ReplicaEntry = z.output<typeof ReplicaEntry>;

/** Keys of the bucket. */
export const REPLICA_KEYS = {
  rebuild: "rebuild",
  asked: "asked",
  alarm: "alarm",
  reading: (stream: string) => `read.${stream}`,
} as const;
