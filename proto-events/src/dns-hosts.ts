// SPDX-License-Identifier: Apache-2.0
/**
 * The hosts of the cluster in DNS (REQUIREMENTS DNS-15, DISC-13): nodes, which are registered by themselves, and VMs. The contract
 * is in dns.ts.
 */
import { z } from "zod";
import { SIGNED_MESSAGE_ERRORS, TsigKeyName, WantedTtl, ZoneName } from "./dns-data.ts";
import { durable } from "./durable.ts";
import { event, operation } from "./kit.ts";
import { Actor, Duration, OperationId, Timestamp } from "./primitives.ts";
import { listQuery, page } from "./replies.ts";

/** Most addresses of one host. */
const MAX_ADDRESSES = 16;

/** What a host is. */
export const HostKind = z.enum(["node", "vm"]).describe("What the host is.");
export type HostKind = z.output<typeof HostKind>;

const Id = z
  .string()
  .min(1)
  .max(64)
  .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, "letters, digits, dashes, dots, underscores");
const Host = z.string().min(1).max(254).describe("Host name; relative to the zone unless it ends in it.");

/** A set of records that a registration made. */
export const HostRecord = z.object({
  zone: z.string(),
  name: z.string(),
  type: z.enum(["A", "AAAA", "PTR"]),
  data: z.array(z.string()),
});
export type HostRecord = z.output<typeof HostRecord>;

/** A host that is registered, or a node that should be. */
export const DnsHost = z.object({
  host: z.string().describe("Full name, without the final dot."),
  kind: HostKind,
  id: z.string().nullable().describe("Id of the node or VM, where it was said."),
  addresses: z.array(z.string()),
  state: z
    .enum(["registered", "waiting", "failed"])
    .describe("waiting: something has to be configured first; failed: the last attempt failed, and it is tried again."),
  code: z.string().nullable().describe("Why it is not as it should be: an error code."),
  detail: z.string().describe("The same in words, with what to do."),
  records: z.array(HostRecord).describe("What the registration made, and a deregistration removes."),
  operation: OperationId.nullable().describe("The operation that registered it last."),
  registeredAt: Timestamp.nullable(),
  registeredBy: Actor.nullable(),
});
export type DnsHost = z.output<typeof DnsHost>;

const HostFact = DnsHost.pick({ host: true, kind: true, id: true, addresses: true, records: true }).extend({
  operation: OperationId,
  actor: Actor,
});

const how = {
  zone: ZoneName.optional().describe("Zone of the name; default: the longest configured one that fits."),
  key: TsigKeyName.optional().describe("Stored TSIG key that signs the update instead of the server's own."),
  propagation: Duration.default("10s").describe("How long every server may take to answer alike."),
};

const REMOTE_ERRORS = [...SIGNED_MESSAGE_ERRORS, "DNS_RECORD_INVALID", "DNS_NOT_AUTHORITATIVE"] as const;

/** What can be asked of hosts. */
export const hostOperations = {
  listHosts: operation({
    summary: "List the hosts that are registered in DNS, and the nodes that are not yet, with the reason.",
    scope: "core",
    effect: "read",
    idempotent: true,
    timeoutMs: 5_000,
    permission: "dns:host:list",
    input: z.strictObject({ ...listQuery }),
    output: page(DnsHost),
    errors: [],
    http: { method: "GET", path: "/v1/dns/hosts" },
    cli: {
      noun: "dns",
      verb: "hosts list",
      rows: "items",
      columns: [
        { heading: "HOST", value: "host" },
        { heading: "KIND", value: "kind" },
        { heading: "ADDRESSES", value: "addresses", as: "list" },
        { heading: "STATE", value: "state" },
        { heading: "CODE", value: "code" },
        { heading: "REGISTERED", value: "registeredAt", as: "age" },
        { heading: "DETAIL", value: "detail" },
      ],
      examples: [
        { command: "dvctl dns hosts list", does: "Show every host, and what a node waits for." },
        { command: "dvctl dns hosts list --filter state!=registered", does: "Show what is not registered." },
      ],
    },
  }),
  registerHost: durable({
    summary: "Register a host in DNS: its addresses and their PTRs, remembered so that they can be removed again.",
    effect: "change",
    permission: "dns:host:register",
    input: {
      host: Host,
      addresses: z
        .array(z.union([z.ipv4(), z.ipv6()]))
        .min(1)
        .max(MAX_ADDRESSES)
        .describe("Every address that the host shall have."),
      kind: HostKind.default("vm"),
      id: Id.optional().describe("Id of the node or VM; one with another id does not take the name over."),
      ttl: WantedTtl.optional(),
      takeOver: z
        .stringbool()
        .or(z.boolean())
        .default(false)
        .describe("Replace records that are another host's or were made by hand."),
      ...how,
    },
    errors: [...REMOTE_ERRORS],
    http: { method: "POST", path: "/v1/dns/hosts/{host}/register" },
    durable: { version: 1, targets: null },
    cli: {
      noun: "dns",
      verb: "hosts register",
      args: ["host", "addresses"],
      examples: [
        { command: "dvctl dns hosts register vm7 192.0.2.17", does: "Give a VM its name, and the address its PTR." },
        {
          command: "dvctl dns hosts register vm7 192.0.2.17,2001:db8::17 --id vm-7",
          does: "With both kinds of addresses, for this VM alone.",
        },
      ],
      preconditions: "A primary with a key is configured for the zone. Nobody else's records stand there.",
      changes: "Sets A, AAAA and, where a reverse zone is configured, PTR; remembers what it made.",
      undo: "dvctl dns hosts deregister HOST, or dvctl operations rollback ID; the latter brings back what was there before.",
      recovery:
        "dvctl dns hosts list shows what is registered; dvctl dns propagation HOST whether every server has it.",
    },
  }),
  deregisterHost: durable({
    summary: "Remove what the registration of a host made in DNS, and nothing else.",
    effect: "change",
    permission: "dns:host:deregister",
    input: {
      host: Host,
      id: Id.optional().describe("Only if it is registered with this id."),
      ...how,
    },
    errors: [...REMOTE_ERRORS],
    http: { method: "POST", path: "/v1/dns/hosts/{host}/deregister" },
    durable: { version: 1, targets: null },
    cli: {
      noun: "dns",
      verb: "hosts deregister",
      args: ["host"],
      examples: [{ command: "dvctl dns hosts deregister vm7", does: "Remove the records of a VM that is gone." }],
      preconditions: "None. A host that is not registered is left alone.",
      changes: "Removes the values that the registration made, as far as they are still there, and forgets the host.",
      undo: "dvctl operations rollback ID",
      recovery: "dvctl dns hosts list shows what is registered.",
    },
  }),
};

/** What is told of hosts. */
export const hostEvents = {
  "host.registered": event({
    summary: "A host was registered in DNS, or registered anew with other addresses.",
    version: 1,
    payload: HostFact,
  }),
  "host.deregistered": event({
    summary: "A host is registered in DNS no longer; its records are gone.",
    version: 1,
    payload: HostFact,
  }),
};
