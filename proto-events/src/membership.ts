// SPDX-License-Identifier: Apache-2.0
/**
 * Who belongs to the cluster: the entries of bucket `dv_members`, the only membership store. Credentials, routes and certificates
 * derive from it (RULES.md part 5). The bucket also holds one entry about the cluster as a whole, and the code that is open.
 */
import { z } from "zod";
import { Actor, NodeId, NodeName, NodeRole, Sha256, Timestamp } from "./primitives.ts";

const Port = z.number().int().min(1).max(65_535);

/**
 * `admitted`: let in, not heard of since. `active`: belongs. `removed`: may never come back under this key.
 */
export const MemberState = z.enum(["admitted", "active", "removed"]).describe("Where the machine stands.");
export type MemberState = z.output<typeof MemberState>;

/** Where a server's parts listen; `host` is an address that the other machines reach. */
export const ServerEndpoints = z.object({
  host: z.string().min(2).max(64),
  client: Port,
  cluster: Port,
  join: Port,
  gateway: Port,
});

/**
 * The order of an operation that wrote an entry last: an owner that was overtaken changes nothing. `undone`: its step was undone, and
 * an order of it that comes late does nothing.
 */
export const EntryOrder = z.object({
  operation: z.string(),
  step: z.string(),
  epoch: z.number().int().nonnegative(),
  fence: z.number().int().nonnegative(),
  undone: z.boolean(),
});
export type EntryOrder = z.output<typeof EntryOrder>;

/** How a machine proved that it may join. `words`: a person compared them. */
export const AdmittedBy = z.enum(["founding", "secret", "code", "words"]);

/** One machine, as the cluster knows it. */
export const Member = z.object({
  kind: z.literal("member"),
  id: NodeId,
  name: NodeName,
  role: NodeRole,
  state: MemberState,
  /** Raised with every change of state. */
  generation: z.number().int().positive().describe("Raised with every change of state."),
  /** Raised whenever the machine joins anew; a server's name on the bus is id and incarnation. */
  incarnation: z.number().int().positive().describe("Raised whenever the machine joins anew."),
  key: Sha256.describe("Fingerprint of the machine's key: SHA-256 of its SPKI."),
  busKey: z.string().describe("Public key of its user on the bus."),
  addresses: z.array(z.string()).describe("Addresses that it named when it joined."),
  endpoints: ServerEndpoints.nullable().describe("Where a server listens; null for a worker."),
  admittedBy: AdmittedBy.describe("How it proved that it may join."),
  admittedAt: Timestamp,
  certificate: z
    .object({ serial: z.string(), notAfter: Timestamp })
    .nullable()
    .describe("Its latest certificate; null when none is known."),
  removed: z.object({ at: Timestamp, actor: Actor, reason: z.string() }).nullable(),
  trust: z
    .object({ generation: z.number().int().positive(), at: Timestamp })
    .optional()
    .describe("The generation of entry `trust` that it has confirmed, and when."),
  order: EntryOrder.optional().describe("The order that removed it, or undid that."),
});
export type Member = z.output<typeof Member>;

/** The cluster as a whole. Entry `cluster` of the bucket. */
export const ClusterEntry = z.object({
  kind: z.literal("cluster"),
  cluster: z.string(),
  formation: z.string(),
  servers: z.union([z.literal(1), z.literal(3), z.literal(5)]),
  foundedAt: Timestamp,
  foundedBy: NodeId,
  /** Until when machines may join with the cluster secret alone; null: closed. */
  unattendedUntil: Timestamp.nullable(),
  /** The server that is joining the bus now. Two at once could elect a leader of their own. */
  joining: z.object({ node: NodeId, since: Timestamp }).nullable(),
  /** The order that closed unattended joining, or undid that. */
  order: EntryOrder.optional(),
  /** The order of the operation that changed `servers` last. */
  sizeOrder: EntryOrder.optional(),
  /** When a lone survivor was rescued last: credentials of core parts that were issued before count no more. */
  rescuedAt: Timestamp.optional(),
});
export type ClusterEntry = z.output<typeof ClusterEntry>;

/** A one-time code for one machine. Entry `code` of the bucket. */
export const CodeEntry = z.object({
  kind: z.literal("code"),
  code: z.string(),
  actor: Actor,
  until: Timestamp,
  triesLeft: z.number().int().min(0),
  /** The node that it is for; null: whoever types it. */
  node: NodeId.nullable(),
});
export type CodeEntry = z.output<typeof CodeEntry>;

/**
 * A machine that waits until somebody has compared words, for one session of a join port. Entry `waiting.<node>` of the bucket; it goes with
 * the session. `verdict`: null until somebody has typed words.
 */
export const WaitingEntry = z.object({
  kind: z.literal("waiting"),
  node: NodeId,
  key: Sha256,
  /** What the machine says of itself. */
  name: NodeName,
  role: NodeRole,
  version: z.string(),
  words: z.string(),
  since: Timestamp,
  until: Timestamp,
  verdict: z.enum(["approved", "refused"]).nullable(),
});
export type WaitingEntry = z.output<typeof WaitingEntry>;

/** An authority that members believe. Its key is in no entry. */
export const Authority = z.object({
  fingerprint: Sha256.describe("SHA-256 over the certificate (DER)."),
  certificate: z.string().describe("PEM."),
  notAfter: Timestamp,
});
export type Authority = z.output<typeof Authority>;

/** What members believe, and which authority issues. Entry `trust` of the bucket. */
export const TrustEntry = z.object({
  kind: z.literal("trust"),
  /** Raised with every change; a member confirms that it holds a generation. */
  generation: z.number().int().positive(),
  /** One, or two while it is rotated: the old one first. */
  authorities: z.array(Authority).min(1).max(2),
  /** Fingerprint of the one that issues. */
  issuer: Sha256,
  /** When the last rotation removed an authority. */
  rotatedAt: Timestamp.nullable(),
  /** The order that changed it last. */
  order: EntryOrder.optional(),
});
export type TrustEntry = z.output<typeof TrustEntry>;

/** What the bucket holds. Members are under their node id. */
export const MembershipEntry = z.discriminatedUnion("kind", [
  Member,
  ClusterEntry,
  CodeEntry,
  WaitingEntry,
  TrustEntry,
]);
export type MembershipEntry = z.output<typeof MembershipEntry>;
