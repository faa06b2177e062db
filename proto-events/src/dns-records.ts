// SPDX-License-Identifier: Apache-2.0
/** The operations of dns on records; the contract is in dns.ts. */
import { z } from "zod";
import {
  DnsChange,
  DnssecState,
  MAX_CHANGES,
  RecordChange,
  RecordDifference,
  RecordSet,
  RecordType,
  ServerAnswer,
  SIGNED_MESSAGE_ERRORS,
  TsigKeyName,
  ZoneName,
} from "./dns-data.ts";
import { durable } from "./durable.ts";
import { operation } from "./kit.ts";
import { Duration, OperationId } from "./primitives.ts";
import { listQuery, page } from "./replies.ts";

const domain = z.string().min(1).max(254);

/** What can be asked of records, by name. */
export const recordOperations = {
  listRecords: operation({
    summary: "List the records of a name, or by a transfer those of a whole zone.",
    scope: "core",
    effect: "read",
    idempotent: true,
    timeoutMs: 20_000,
    permission: "dns:record:list",
    input: z.strictObject({
      ...listQuery,
      name: domain.optional().describe("Host or domain name; without it the whole zone, if the key may transfer it."),
      zone: ZoneName.optional(),
    }),
    output: page(RecordSet),
    errors: [...SIGNED_MESSAGE_ERRORS, "DNS_RECORD_INVALID"],
    http: { method: "GET", path: "/v1/dns/records" },
    cli: {
      noun: "dns",
      verb: "records list",
      args: ["name"],
      rows: "items",
      columns: [
        { heading: "NAME", value: "name" },
        { heading: "TYPE", value: "type" },
        { heading: "TTL", value: "ttl" },
        { heading: "DATA", value: "data", as: "list" },
      ],
      examples: [
        { command: "dvctl dns records list web1", does: "Show every record of web1." },
        {
          command: "dvctl dns records list --zone debvisor.local --filter type=A",
          does: "Show the addresses of a zone.",
        },
      ],
    },
  }),
  checkPropagation: operation({
    summary: "Ask every server of the zone for a name, and compare their answers with the primary's.",
    scope: "core",
    effect: "read",
    idempotent: true,
    timeoutMs: 20_000,
    permission: "dns:propagation:check",
    input: z.strictObject({
      name: domain.describe("Host or domain name."),
      type: RecordType.optional().describe("Only this kind; default: every kind that the primary has."),
      zone: ZoneName.optional(),
    }),
    output: z.object({
      zone: z.string(),
      name: z.string(),
      propagated: z.boolean(),
      records: z.array(RecordSet).describe("As the primary has them."),
      servers: z.array(ServerAnswer),
    }),
    errors: ["DNS_SERVER_MISSING", "DNS_RECORD_INVALID", "DNS_UNREACHABLE", "TOOL_MISSING", "TOOL_FAILED"],
    http: { method: "GET", path: "/v1/dns/propagation/{name}" },
    cli: {
      noun: "dns",
      verb: "propagation",
      args: ["name"],
      rows: "servers",
      columns: [
        { heading: "SERVER", value: "server" },
        { heading: "ROLE", value: "role" },
        { heading: "STATUS", value: "status" },
        { heading: "SERIAL", value: "serial" },
        { heading: "DETAIL", value: "detail" },
      ],
      examples: [
        { command: "dvctl dns propagation web1", does: "Show whether every server knows web1 alike; exit 5 if not." },
      ],
    },
  }),
  checkDnssec: operation({
    summary: "Check the signatures of a zone on every server: are they there, do they hold, how long do they last.",
    scope: "core",
    effect: "read",
    idempotent: true,
    timeoutMs: 30_000,
    permission: "dns:dnssec:check",
    input: z.strictObject({
      zone: ZoneName,
      hours: z.coerce
        .number()
        .int()
        .min(0)
        .max(8_760)
        .default(24)
        .describe("Signatures that end within this many hours count as failed (0 to 8760)."),
    }),
    output: z.object({
      zone: z.string(),
      verdict: z.enum(["ok", "unsigned", "failed"]),
      servers: z.array(DnssecState),
    }),
    errors: ["DNS_SERVER_MISSING", "DNS_KEY_NOT_FOUND", "DNS_RECORD_INVALID", "TOOL_MISSING", "TOOL_FAILED"],
    http: { method: "GET", path: "/v1/dns/dnssec/{zone}" },
    cli: {
      noun: "dns",
      verb: "dnssec check",
      args: ["zone"],
      rows: "servers",
      columns: [
        { heading: "SERVER", value: "server" },
        { heading: "ROLE", value: "role" },
        { heading: "STATUS", value: "status" },
        { heading: "SERIAL", value: "serial" },
        { heading: "EXPIRES", value: "expiresAt" },
        { heading: "DETAIL", value: "detail" },
      ],
      examples: [
        {
          command: "dvctl dns dnssec check debvisor.local",
          does: "Check presence, chain and expiry; exit 6 unless all is well.",
        },
      ],
    },
  }),
  listChanges: operation({
    summary: "List the changes of records, newest first, with what was there before and after.",
    scope: "core",
    effect: "read",
    idempotent: true,
    timeoutMs: 10_000,
    permission: "dns:change:list",
    input: z.strictObject({
      limit: z.coerce.number().int().min(1).max(200).default(20).describe("Most changes (1 to 200)."),
    }),
    output: z.object({ items: z.array(DnsChange) }),
    errors: [],
    http: { method: "GET", path: "/v1/dns/changes" },
    cli: {
      noun: "dns",
      verb: "changes list",
      rows: "items",
      columns: [
        { heading: "CHANGE", value: "id" },
        { heading: "STATE", value: "state" },
        { heading: "AT", value: "at", as: "age" },
        { heading: "BY", value: "actor" },
        { heading: "USER", value: "user" },
        { heading: "PROPAGATED", value: "propagated" },
        { heading: "ZONE", value: "records.0.zone" },
        { heading: "NAME", value: "records.0.name" },
        { heading: "BEFORE", value: "records.0.before" },
        { heading: "AFTER", value: "records.0.after" },
      ],
      examples: [{ command: "dvctl dns changes list", does: "Show the latest changes." }],
    },
  }),
  checkChange: operation({
    summary: "Show whether a change can be undone: what its records were, became, and are now.",
    scope: "core",
    effect: "read",
    idempotent: true,
    timeoutMs: 20_000,
    permission: "dns:change:check",
    input: z.strictObject({ change: OperationId.describe("Id of the change.") }),
    output: z.object({
      change: OperationId,
      undoable: z.boolean(),
      records: z.array(
        RecordDifference.extend({
          found: z.string().nullable().describe("As it is now."),
          status: z.enum(["as-changed", "as-before", "changed-since"]),
        }),
      ),
    }),
    errors: [
      "OPERATION_NOT_FOUND",
      "DNS_SERVER_MISSING",
      "DNS_UNREACHABLE",
      "DNS_REFUSED",
      "TOOL_MISSING",
      "TOOL_FAILED",
    ],
    http: { method: "GET", path: "/v1/dns/changes/{change}" },
    cli: {
      noun: "dns",
      verb: "changes check",
      args: ["change"],
      rows: "records",
      columns: [
        { heading: "ZONE", value: "zone" },
        { heading: "NAME", value: "name" },
        { heading: "TYPE", value: "type" },
        { heading: "BEFORE", value: "before" },
        { heading: "AFTER", value: "after" },
        { heading: "NOW", value: "found" },
        { heading: "STATUS", value: "status" },
      ],
      examples: [
        { command: "dvctl dns changes check op-k3x7w2mqabcde", does: "Show whether somebody changed it since." },
      ],
    },
  }),
  changeRecords: durable({
    summary: "Change records as one set: compare-and-set on the primary, verified on every server, undone as a whole.",
    effect: "change",
    permission: "dns:record:change",
    input: {
      changes: z.array(RecordChange).min(1).max(MAX_CHANGES).describe("What shall become of which records, as JSON."),
      zone: ZoneName.optional().describe("Zone of the names; default: the longest configured one that fits."),
      servers: z
        .array(z.string().min(1).max(64))
        .max(32)
        .optional()
        .describe("Only these servers, by name or address; default: all of the zone."),
      key: TsigKeyName.optional().describe("Stored TSIG key that signs the update instead of the server's own."),
      propagation: Duration.default("10s").describe("How long every server may take to answer alike."),
      everywhere: z
        .stringbool()
        .or(z.boolean())
        .default(false)
        .describe("Undo it unless every server answers alike in time; by default it stays, and that is said."),
      lowerTtl: z
        .stringbool()
        .or(z.boolean())
        .default(false)
        .describe("Lower the time to live first, wait until the old one is over, change the values, then restore it."),
      lowTtl: z.coerce
        .number()
        .int()
        .min(1)
        .max(3_600)
        .default(30)
        .describe("Time to live in seconds while that goes on (1 to 3600)."),
    },
    errors: [
      ...SIGNED_MESSAGE_ERRORS,
      "DNS_SERVER_NOT_FOUND",
      "DNS_RECORD_INVALID",
      "DNS_NOT_AUTHORITATIVE",
      "DNS_NOT_PROPAGATED",
    ],
    http: { method: "POST", path: "/v1/dns/changes" },
    durable: { version: 1, targets: null },
    cli: {
      noun: "dns",
      verb: "records change",
      args: ["changes"],
      examples: [
        {
          command: `dvctl dns records change '[{"name":"web1","data":["192.0.2.7"]},{"action":"delete","name":"web0","type":"A"}]'`,
          does: "Change two records in one message, or none of them.",
        },
        {
          command: `dvctl dns records change '[{"name":"web1","data":["192.0.2.7"]}]' --lower-ttl`,
          does: "Have caches forget the old address before it changes; takes as long as the old time to live.",
        },
      ],
      preconditions: "A primary with a key is configured for every zone that is touched.",
      changes:
        "Sends one signed update for each zone; it takes effect only where the records are as they were planned on.",
      undo: "dvctl operations rollback ID, or debvisor-dns-update --rollback; both bring back values, times to live, and absence.",
      recovery: "dvctl dns changes check ID shows what is there now.",
    },
  }),
};
