// SPDX-License-Identifier: Apache-2.0
/**
 * DNS: the servers and keys that the cluster knows, and records changed as transactions (REQUIREMENTS DNS). All changes of records
 * are one durable operation, a change set; setting and deleting a record are change sets of one.
 */
import { z } from "zod";
import { DnsRole, DnsServer, DnsServerName, RecordDifference, TsigKeyName, ZoneName } from "./dns-data.ts";
import { hostEvents, hostOperations } from "./dns-hosts.ts";
import { keyEvents, keyOperations } from "./dns-keys.ts";
import { recordOperations } from "./dns-records.ts";
import { contract, event, operation } from "./kit.ts";
import { Actor, NodeId, NodeRef, OperationId } from "./primitives.ts";
import { listQuery, page } from "./replies.ts";

/** Events of before there were nodes do not have one. */
const ServerFact = DnsServer.omit({ addedAt: true, addedBy: true }).extend({ node: NodeId.nullable().optional() });

export const dnsContract = contract({
  service: "dns",
  summary: "Changes records on DNS servers as transactions, and checks that every server has them.",
  uses: {
    streamsRead: ["DV_OPS"],
    streamsWrite: ["DV_OPS"],
    bucketsRead: ["dv_nodes", "dv_leases", "dv_locks", "dv_maintenance", "dv_dns", "dv_dnsorders", "dv_dnshosts"],
    bucketsWrite: ["dv_leases", "dv_locks", "dv_dns", "dv_dnsorders", "dv_dnshosts"],
    commands: ["nameserver"],
    events: ["maintenance.change.blocked"],
  },
  operations: {
    listServers: operation({
      summary: "List the DNS servers that are configured.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 5_000,
      permission: "dns:server:list",
      input: z.strictObject({ ...listQuery }),
      output: page(DnsServer),
      errors: [],
      http: { method: "GET", path: "/v1/dns/servers" },
      cli: {
        noun: "dns",
        verb: "servers list",
        rows: "items",
        columns: [
          { heading: "NAME", value: "name" },
          { heading: "ADDRESS", value: "address" },
          { heading: "PORT", value: "port" },
          { heading: "ROLE", value: "role" },
          { heading: "ZONES", value: "zones", as: "list" },
          { heading: "KEY", value: "key" },
          { heading: "NODE", value: "node" },
        ],
        examples: [{ command: "dvctl dns servers list", does: "Show every server with its zones." }],
      },
    }),
    setServer: operation({
      summary: "Tell the cluster of a DNS server, or change what it knows of one.",
      scope: "core",
      effect: "change",
      idempotent: true,
      timeoutMs: 8_000,
      permission: "dns:server:set",
      role: "admin",
      input: z.strictObject({
        server: DnsServerName,
        address: z.union([z.ipv4(), z.ipv6()]).describe("Address of the server."),
        port: z.coerce.number().int().min(1).max(65_535).default(53).describe("Port of the server, UDP and TCP."),
        role: DnsRole.default("primary"),
        zone: z.array(ZoneName).min(1).max(200).describe("Zones it is authoritative for."),
        key: TsigKeyName.optional().describe("Stored TSIG key that signs what is sent to it; a primary needs one."),
        node: NodeRef.optional().describe(
          "Member of the cluster whose BIND it is; its keys are then made and replaced by the cluster.",
        ),
      }),
      output: DnsServer,
      errors: ["DNS_KEY_NOT_FOUND", "DNS_RECORD_INVALID", "NODE_NOT_FOUND"],
      http: { method: "PUT", path: "/v1/dns/servers/{server}" },
      cli: {
        noun: "dns",
        verb: "servers add",
        args: ["server"],
        examples: [
          {
            command: "dvctl dns servers add ns1 --address 192.0.2.53 --zone debvisor.local --key dv.key",
            does: "Name the primary of a zone, with the file of its key.",
          },
          {
            command: "dvctl dns servers add ns2 --address 192.0.2.54 --role secondary --zone debvisor.local",
            does: "Name a secondary; it is verified, never written to.",
          },
          {
            command: "dvctl dns servers add ns1 --address 192.0.2.53 --zone debvisor.local --node node-1",
            does: "Name the BIND of a member; dvctl dns keys rotate makes its keys, and replaces them.",
          },
        ],
        preconditions:
          "The key file has mode 0600 and is in the format of tsig-keygen. A primary needs a key, or a node.",
        changes: "Stores address, zones and key of the server, the key sealed. Nothing is sent to the server.",
        undo: "dvctl dns servers remove NAME",
      },
    }),
    deleteServer: operation({
      summary: "Forget a DNS server; nothing on the server itself changes.",
      scope: "core",
      effect: "destroy",
      idempotent: true,
      timeoutMs: 8_000,
      permission: "dns:server:delete",
      input: z.strictObject({ server: DnsServerName }),
      output: DnsServer,
      errors: ["DNS_SERVER_NOT_FOUND"],
      http: { method: "DELETE", path: "/v1/dns/servers/{server}" },
      cli: {
        noun: "dns",
        verb: "servers remove",
        args: ["server"],
        examples: [{ command: "dvctl dns servers remove ns2 --confirm", does: "Forget ns2." }],
        changes: "Removes the entry. Its records, and the stored key, stay.",
        undo: "dvctl dns servers add with the same values",
      },
    }),
    checkServer: operation({
      summary: "Check a DNS server: does it answer for its zones, does it take the key, how far apart are the clocks.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 20_000,
      permission: "dns:server:check",
      input: z.strictObject({ server: DnsServerName }),
      output: z.object({
        server: DnsServerName,
        verdict: z.enum(["ok", "failed"]),
        checks: z.array(
          z.object({
            zone: z.string(),
            check: z.enum(["answer", "key"]),
            status: z.enum(["ok", "failed", "skipped"]),
            code: z.string().nullable().describe("Error code, such as DNS_TSIG_BADTIME."),
            serial: z.number().int().nonnegative().nullable(),
            detail: z.string(),
          }),
        ),
      }),
      errors: ["DNS_SERVER_NOT_FOUND", "DNS_KEY_NOT_FOUND", "TOOL_MISSING", "TOOL_FAILED"],
      http: { method: "GET", path: "/v1/dns/servers/{server}/check" },
      cli: {
        noun: "dns",
        verb: "servers check",
        args: ["server"],
        rows: "checks",
        columns: [
          { heading: "ZONE", value: "zone" },
          { heading: "CHECK", value: "check" },
          { heading: "STATUS", value: "status" },
          { heading: "CODE", value: "code" },
          { heading: "SERIAL", value: "serial" },
          { heading: "DETAIL", value: "detail" },
        ],
        examples: [{ command: "dvctl dns servers check ns1", does: "Probe ns1 with its key; exit 6 when it fails." }],
      },
    }),
    ...keyOperations,
    ...recordOperations,
    ...hostOperations,
  },
  events: {
    ...keyEvents,
    "server.added": event({
      summary: "A DNS server was configured, or its configuration changed.",
      version: 1,
      payload: ServerFact,
    }),
    "server.removed": event({ summary: "A DNS server was forgotten.", version: 1, payload: ServerFact }),
    "record.changed": event({
      summary: "Records of a zone were changed, or changed back.",
      version: 1,
      payload: z.object({
        change: OperationId,
        zone: z.string(),
        server: z.string(),
        undone: z.boolean().describe("Whether this took the change back."),
        propagated: z.boolean(),
        records: z.array(RecordDifference).describe("At most 100 of them."),
        count: z.number().int().positive(),
        actor: Actor,
      }),
    }),
    "change.refused": event({
      summary: "A change found other records than it was planned on: somebody else changed them meanwhile.",
      version: 1,
      payload: z.object({
        change: OperationId,
        zone: z.string(),
        records: z.array(RecordDifference.extend({ found: z.string().nullable() })).describe("At most 100 of them."),
      }),
    }),
    ...hostEvents,
  },
});
