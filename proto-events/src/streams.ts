// SPDX-License-Identifier: Apache-2.0
/**
 * The JetStream streams and key-value buckets of a cluster. One idempotent function (`shared/bus/admin`) creates them from
 * here with one replica, and raises them to three once there are three servers.
 */
import { SUBJECT_FILTERS } from "./subjects.ts";

const MIB = 1024 * 1024;
const DAY_MS = 86_400_000;

/** A stream. `discard: "old"` drops the oldest message when full; `"new"` refuses new ones. */
export interface StreamSpec {
  readonly summary: string;
  readonly subjects: readonly string[];
  readonly maxAgeMs: number;
  readonly maxBytes: number;
  readonly maxMessageBytes: number;
  readonly discard: "old" | "new";
  /** Window in which a repeated message id is recognised. */
  readonly duplicateWindowMs: number;
}

/** A key-value bucket. `ttl`: whether single keys may expire (leases). */
export interface BucketSpec {
  readonly summary: string;
  readonly history: number;
  readonly maxBytes: number;
  readonly ttl: boolean;
  /** Age in milliseconds after which every key goes; 0 keeps them. */
  readonly maxAgeMs: number;
}

/** Streams by name. */
export const STREAMS = {
  DV_EVENTS: {
    summary: "Every event of the cluster, for subscribers that resume.",
    subjects: [SUBJECT_FILTERS.allEvents],
    maxAgeMs: 7 * DAY_MS,
    maxBytes: 512 * MIB,
    maxMessageBytes: 256 * 1024,
    discard: "old",
    duplicateWindowMs: 120_000,
  },
  DV_OPS: {
    summary: "The log of every operation, kept 30 days; the engine's only memory.",
    subjects: [SUBJECT_FILTERS.allOperations],
    maxAgeMs: 30 * DAY_MS,
    maxBytes: 1024 * MIB,
    maxMessageBytes: MIB,
    discard: "new",
    duplicateWindowMs: 120_000,
  },
  DV_AUDIT: {
    summary: "The audit trail: append-only, one subject for each emitter.",
    subjects: [SUBJECT_FILTERS.allAudit],
    maxAgeMs: 0,
    maxBytes: 2048 * MIB,
    maxMessageBytes: 64 * 1024,
    discard: "new",
    duplicateWindowMs: 120_000,
  },
  DV_SEALS: {
    summary: "Signed and cosigned checkpoints of the audit trail.",
    subjects: [SUBJECT_FILTERS.allSeals],
    maxAgeMs: 0,
    maxBytes: 256 * MIB,
    maxMessageBytes: 64 * 1024,
    // The latest checkpoint vouches for every record; a stream that runs full must not stop the sealing.
    discard: "old",
    duplicateWindowMs: 120_000,
  },
} as const satisfies Record<string, StreamSpec>;

/** Buckets by name. */
export const BUCKETS = {
  dv_nodes: {
    summary: "Node registry: one entry per node id.",
    history: 4,
    maxBytes: 64 * MIB,
    ttl: false,
    maxAgeMs: 0,
  },
  dv_members: {
    summary: "Who belongs to the cluster: one entry per node id, one about the cluster, and the code that is open.",
    history: 4,
    maxBytes: 16 * MIB,
    ttl: false,
    maxAgeMs: 0,
  },
  dv_leases: { summary: "Leases of single-writer jobs.", history: 1, maxBytes: 4 * MIB, ttl: true, maxAgeMs: 0 },
  dv_locks: {
    summary: "Locks of operations, and those that wait for them.",
    history: 1,
    maxBytes: 32 * MIB,
    ttl: true,
    maxAgeMs: 0,
  },
  dv_maintenance: {
    summary: "Nodes in maintenance, and the cluster when all of it is.",
    history: 4,
    maxBytes: 4 * MIB,
    ttl: false,
    maxAgeMs: 0,
  },
  dv_dns: {
    summary: "DNS servers and sealed TSIG keys, in one entry.",
    history: 4,
    maxBytes: 4 * MIB,
    ttl: false,
    maxAgeMs: 0,
  },
  dv_dnsorders: {
    summary: "The last order of each step that changed a zone, kept as long as the log of operations.",
    history: 1,
    maxBytes: 64 * MIB,
    ttl: false,
    maxAgeMs: 31 * DAY_MS,
  },
  dv_dnshosts: {
    summary: "Hosts that are registered in DNS, with the records that were made for each.",
    history: 4,
    maxBytes: 64 * MIB,
    ttl: false,
    maxAgeMs: 0,
  },
  dv_operations: {
    summary: "How far the operation log has been published as events.",
    history: 1,
    maxBytes: MIB,
    ttl: false,
    maxAgeMs: 0,
  },
  dv_replicas: {
    summary: "What reading the replicas of each stream found, and the replica that is being rebuilt.",
    history: 1,
    maxBytes: 4 * MIB,
    ttl: false,
    maxAgeMs: 0,
  },
  dv_tokens: { summary: "API keys, hashed.", history: 1, maxBytes: 16 * MIB, ttl: false, maxAgeMs: 0 },
  dv_idempotency: {
    summary: "Answers of requests by Idempotency-Key, kept 24 hours.",
    history: 1,
    maxBytes: 64 * MIB,
    ttl: false,
    maxAgeMs: DAY_MS,
  },
} as const satisfies Record<string, BucketSpec>;
export type BucketName = keyof typeof BUCKETS;
export type StreamName = keyof typeof STREAMS;
