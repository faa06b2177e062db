// SPDX-License-Identifier: Apache-2.0
/** Identifiers and scalar types that more than one contract uses. Each has a schema and a type of the same name. */
import { z } from "zod";

/** Node id: lower-case base32 of the first 80 bits of SHA-256 over the node's public key (RULES.md part 5). */
export const NodeId = z
  .string()
  .regex(/^[a-z2-7]{16}$/, "a node id is 16 characters of lower-case base32")
  .describe("Node id, derived from the node's public key.");
export type NodeId = z.output<typeof NodeId>;

/** Name of a node for people; unique in a cluster, never a subject token. */
export const NodeName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, "lower-case letters, digits and inner dashes, at most 63")
  .describe("Node name.");
export type NodeName = z.output<typeof NodeName>;

/** How a caller names one node: by id or by name. */
export const NodeRef = NodeName.describe("Node id or name.");
export type NodeRef = z.output<typeof NodeRef>;

/** Which nodes a fan-out goes to: ids or names separated by commas, a filter such as `role=server`, or `all`. */
export const NodeSelection = z
  .string()
  .min(1)
  .max(2000)
  .describe("Node ids or names separated by commas, a filter such as role=server or state=alive, or all.");
export type NodeSelection = z.output<typeof NodeSelection>;

/** RFC 3339 instant in UTC with milliseconds, as `Date.prototype.toISOString` writes it. */
export const Timestamp = z.iso.datetime({ offset: false }).describe("RFC 3339 time in UTC.");
export type Timestamp = z.output<typeof Timestamp>;

/** Free text that ends up in a record: why something was done. */
export const Reason = z.string().min(1).max(500).describe("Why; kept in the record.");

/** Part a node plays. `server` runs nats-server with JetStream, the core parts and a gateway; `worker` the node parts only. */
export const NodeRole = z.enum(["server", "worker"]).describe("Part the node plays in the cluster.");
export type NodeRole = z.output<typeof NodeRole>;

/** Liveness as the registry knows it. `unknown` is what an older client makes of a state it has not heard of. */
export const NodeState = z
  .enum(["alive", "suspect", "lost", "disabled"])
  .describe("Liveness by heartbeat; disabled nodes are skipped as targets.");
export type NodeState = z.output<typeof NodeState>;

/** Version of our software, semantic versioning 2.0. */
export const Version = z.string().max(64).describe("Version of the node's DebVisor.");

/** Who did something: a token id, a user, or `system`. */
export const Actor = z.string().min(1).max(200).describe("Who did it.");

/** Operation id: `op-` and 13 characters of lower-case base32 (65 bits), made once by whoever submits it. */
export const OperationId = z
  .string()
  .regex(/^op-[a-z2-7]{13}$/, "an operation id is op- and 13 characters of lower-case base32")
  .describe("Operation id.");
export type OperationId = z.output<typeof OperationId>;

/** A span of time as people write it. */
export const Duration = z
  .string()
  .regex(/^\d+(ms|s|m|h|d)?$/, "a time such as 90s, 10m, 2h or 7d; a bare number is seconds")
  .describe("A time such as 90s, 10m, 2h or 7d.");
export type Duration = z.output<typeof Duration>;

/** SHA-256 in lower-case hexadecimal. */
export const Sha256 = z
  .string()
  .regex(/^[0-9a-f]{64}$/)
  .describe("SHA-256, hexadecimal.");
export type Sha256 = z.output<typeof Sha256>;
