// SPDX-License-Identifier: Apache-2.0
/** What the contract of dns speaks of: servers, keys, records, changes, and how far a change has come. */
import { z } from "zod";
import { OperationState } from "./durable.ts";
import { Actor, NodeId, OperationId, Timestamp } from "./primitives.ts";

/** Shortest and longest time to live that a record may be given, and the one it gets unasked, in seconds. */
export const TTL = { least: 30, most: 86_400, standard: 3_600 } as const;

/** Time to live that a request asks for. */
export const WantedTtl = z.coerce
  .number()
  .int()
  .min(TTL.least)
  .max(TTL.most)
  .describe("Time to live in seconds (30 to 86400); default: as it is, 3600 for what is new.");

/** What can go wrong with any message that is signed with a TSIG key and sent to a DNS server. */
export const SIGNED_MESSAGE_ERRORS = [
  "DNS_SERVER_MISSING",
  "DNS_KEY_NOT_FOUND",
  "DNS_REFUSED",
  "DNS_UNREACHABLE",
  "DNS_TSIG_BADKEY",
  "DNS_TSIG_BADSIG",
  "DNS_TSIG_BADTIME",
  "TOOL_MISSING",
  "TOOL_FAILED",
] as const;

/** Most changes of one change set: with both sides of each it still fits into one message of DNS. */
export const MAX_CHANGES = 500;

/** Name of a configured DNS server, for people. */
export const DnsServerName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, "lower-case letters, digits and inner dashes, at most 63")
  .describe("Name of the DNS server here.");

/** A zone, a domain name without the final dot; its labels are checked by the service. */
export const ZoneName = z.string().min(1).max(254).describe("Zone, such as debvisor.local.");

/** Name of a TSIG key as both sides know it. */
export const TsigKeyName = z
  .string()
  .regex(/^[a-z0-9_]([a-z0-9_.-]{0,61}[a-z0-9_])?$/, "lower-case letters, digits, dashes, dots, at most 63")
  .describe("Name of the TSIG key.");

/** Algorithms of TSIG keys (RFC 8945 §6) that are still advised. */
export const TsigAlgorithm = z
  .enum(["hmac-sha256", "hmac-sha384", "hmac-sha512"])
  .describe("Algorithm of the TSIG key.");

/** `primary` takes updates; `secondary` is only looked at. */
export const DnsRole = z.enum(["primary", "secondary"]).describe("Whether it takes updates or copies the zone.");

/** A DNS server that the cluster knows. */
export const DnsServer = z.object({
  name: DnsServerName,
  address: z.string(),
  port: z.number().int().min(1).max(65_535),
  role: DnsRole,
  zones: z.array(z.string()).describe("Zones it is authoritative for, as far as the cluster is concerned."),
  key: TsigKeyName.nullable().describe("TSIG key that signs what is sent to it."),
  node: NodeId.nullable()
    .default(null)
    .describe("Member of the cluster whose BIND it is, and whose keys the cluster makes; null: somebody else's."),
  addedAt: Timestamp,
  addedBy: Actor,
});
export type DnsServer = z.output<typeof DnsServer>;

/**
 * What a key that the cluster makes is for: `node` signs changes by the cluster, `vm` those that are made for virtual machines, `transfer`
 * copies of zones. A secondary gets the last one only.
 */
export const KeyPurpose = z.enum(["node", "vm", "transfer"]).describe("What the key is for.");
export type KeyPurpose = z.output<typeof KeyPurpose>;

/** A TSIG key without its secret. */
export const TsigKey = z.object({
  name: TsigKeyName,
  algorithm: TsigAlgorithm.or(z.string()),
  fingerprint: z.string().describe("First 16 hexadecimal digits of SHA-256 over the secret."),
  purpose: KeyPurpose.nullable().default(null).describe("Null: a key that was given."),
  usedBy: z.array(z.string()).describe("Servers that it signs for, or that have it from the cluster."),
  storedAt: Timestamp,
  storedBy: Actor,
});
export type TsigKey = z.output<typeof TsigKey>;

/** Kinds of records that can be changed. */
export const RecordType = z.enum(["A", "AAAA", "CNAME", "MX", "PTR", "SRV", "TXT"]).describe("Kind of record.");
export type RecordType = z.output<typeof RecordType>;

/** The records of one name and kind, which DNS keeps as one (RFC 2181 §5). */
export const RecordSet = z.object({
  zone: z.string(),
  name: z.string().describe("Domain name, without the final dot."),
  type: RecordType.or(z.string()),
  ttl: z.number().int().nonnegative().describe("Time to live in seconds."),
  data: z.array(z.string()).describe("Values, sorted."),
});
export type RecordSet = z.output<typeof RecordSet>;

/** What shall become of the records of one name and kind. */
export const RecordChange = z.strictObject({
  action: z.enum(["set", "delete"]).default("set").describe("set replaces what is there; delete removes."),
  name: z.string().min(1).max(254).describe("Host or domain name; relative to the zone unless it ends in it."),
  type: RecordType.optional().describe("Kind of record; for addresses it follows from the address."),
  data: z
    .array(z.string().min(1).max(1_000))
    .max(100)
    .default([])
    .describe("Values to set, or to delete; deleting without values removes all of that kind."),
  ttl: WantedTtl.optional(),
  ptr: z
    .stringbool()
    .or(z.boolean())
    .default(false)
    .describe("Change the PTR of each address in the matching reverse zone as well."),
});
export type RecordChange = z.output<typeof RecordChange>;

/** How one server stands to what was asked of all. */
export const ServerAnswer = z.object({
  server: z.string(),
  role: DnsRole,
  status: z
    .enum(["same", "different", "unreachable", "refused"])
    .describe("same: it answers as it should; different: it still answers otherwise."),
  serial: z.number().int().nonnegative().nullable().describe("Serial of the zone there."),
  detail: z.string().describe("What it answers instead, or why it does not."),
});
export type ServerAnswer = z.output<typeof ServerAnswer>;

/** How the signatures of a zone are on one server. */
export const DnssecState = z.object({
  server: z.string(),
  role: DnsRole,
  status: z.enum(["ok", "unsigned", "failed", "unreachable"]),
  serial: z.number().int().nonnegative().nullable(),
  expiresAt: Timestamp.nullable().describe("End of the signature of SOA or keys that ends first."),
  detail: z.string(),
});
export type DnssecState = z.output<typeof DnssecState>;

/** What became of the change of one zone. */
export const ZoneResult = z.object({
  zone: z.string(),
  server: z.string().describe("The primary that took it."),
  propagated: z.boolean().describe("Whether every server of the zone answers alike."),
  servers: z.array(ServerAnswer),
});
export type ZoneResult = z.output<typeof ZoneResult>;

/** `result` of a change of records. */
export const ChangeResult = z.object({ propagated: z.boolean(), zones: z.array(ZoneResult) });
export type ChangeResult = z.output<typeof ChangeResult>;

/** One set of records before and after a change; null: there is none. */
export const RecordDifference = z.object({
  zone: z.string(),
  name: z.string(),
  type: z.string(),
  before: z.string().nullable().describe("Time to live and values; null when there is none."),
  after: z.string().nullable().describe("Likewise, as the change left it."),
});

/** A change of records; its id is that of its operation. */
export const DnsChange = z.object({
  id: OperationId,
  state: OperationState.or(z.string()),
  actor: Actor,
  user: z.string().nullable(),
  at: Timestamp.nullable(),
  undoable: z.boolean(),
  propagated: z.boolean().nullable().describe("Null while it runs and when it failed."),
  records: z.array(RecordDifference),
});
export type DnsChange = z.output<typeof DnsChange>;
