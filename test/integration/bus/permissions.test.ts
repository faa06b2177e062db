// SPDX-License-Identifier: Apache-2.0
/**
 * Who may say and hear what (RULES.md 15): one list of subjects, one line per identity that says which of them it may use.
 * Every other one must be refused by a real server.
 */

import { gatewayContract } from "@debvisor/proto-events/gateway";
import { contractsOf } from "@debvisor/proto-events/registry";
import {
  auditSubject,
  eventSubject,
  inboxPrefix,
  operationSubject,
  rpcSubject,
  SUBJECT_FILTERS,
  sealSubject,
  telemetrySubject,
} from "@debvisor/proto-events/subjects";
import { lastAudit } from "@debvisor/shared/bus/permissions";
import type { Credential } from "@debvisor/shared/bus/trust";
import { expect, test, vi } from "vitest";
import { deniedPublishes, deniedSubscriptions } from "../../support/attacker.ts";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";

const cluster = sharedBusCluster({ servers: 1 });
const own = randomNodeId();
const other = randomNodeId();
const STARTED = "node-agent.agent.started";
const SERVICE_PROTOCOL = ["$SRV.PING", "$SRV.INFO", "$SRV.STATS", "$SRV.PING.gateway", "$SRV.STATS.node-agent.x"];
const BUCKETS = [
  "dv_nodes",
  "dv_members",
  "dv_leases",
  "dv_locks",
  "dv_maintenance",
  "dv_replicas",
  "dv_operations",
  "dv_tokens",
  "dv_idempotency",
  "dv_dns",
  "dv_dnsorders",
  "dv_dnshosts",
];
const STREAMS = ["DV_EVENTS", "DV_OPS", "DV_AUDIT", "DV_SEALS", ...BUCKETS.map((bucket) => `KV_${bucket}`)];
const CORE_USERS = ["discovery", "gateway", "node-agent", "audit", "dns"].map((service) => `${service}-${own}`);

/** A consumer of the reader of replicas. Who reads a stream at all may have consumers of any name there. */
const READER = `replica-reader-${own}-a`;
const READER_VERBS = ["CREATE", "INFO", "MSG.NEXT", "DELETE"];

const reads = (...streams: string[]) =>
  streams.flatMap((stream) => [
    `$JS.API.STREAM.INFO.${stream}`,
    `$JS.API.STREAM.MSG.GET.${stream}`,
    `$JS.API.DIRECT.GET.${stream}`,
    `$JS.API.DIRECT.GET.${stream}.x`,
    `$JS.API.CONSUMER.CREATE.${stream}.c`,
    `$JS.API.CONSUMER.CREATE.${stream}.c.x`,
    `$JS.API.CONSUMER.INFO.${stream}.c`,
    `$JS.API.CONSUMER.DELETE.${stream}.c`,
    `$JS.API.CONSUMER.MSG.NEXT.${stream}.c`,
    `$JS.ACK.${stream}.c.1.1.1.1.0`,
    ...READER_VERBS.map((verb) => `$JS.API.CONSUMER.${verb}.${stream}.${READER}`),
  ]);
const writes = (...buckets: string[]) => buckets.map((bucket) => `$KV.${bucket}.x`);
const administers = (verb: string) => STREAMS.map((stream) => `$JS.API.STREAM.${verb}.${stream}`);
const comparesReplicas = (verb: string) => STREAMS.map((stream) => `$JS.API.CONSUMER.${verb}.${stream}.${READER}`);
/** A party's own part of the audit trail: it adds to it, and reads its last record. */
const audit = (user: string) => [auditSubject(user), lastAudit(auditSubject(user))];
const requests = (target: string, ...services: string[]) => services.map((service) => rpcSubject(target, service, "x"));

/** Everything that anybody may publish, and what nobody may. */
const PUBLISH = [
  ...[own, other, "core"].flatMap((origin) => [
    eventSubject(origin, STARTED),
    eventSubject(origin, "discovery.node.lost"),
    eventSubject(origin, "cluster.member.admitted"),
    eventSubject(origin, "trust.authority.rotated"),
    eventSubject(origin, "gateway.token.created"),
    eventSubject(origin, "dns.record.changed"),
    eventSubject(origin, "dns.key.rotated"),
    eventSubject(origin, "host.node.rebooted"),
    eventSubject(origin, "maintenance.change.blocked"),
    eventSubject(origin, "maintenance.mode.enabled"),
    telemetrySubject(origin, "node-agent", "heartbeat"),
    ...audit(origin),
    sealSubject(origin),
  ]),
  ...CORE_USERS.flatMap((user) => [...audit(user), sealSubject(user)]),
  operationSubject("op-x"),
  ...requests(own, "node-agent", "host", "audit", "trust", "nameserver"),
  ...requests(other, "node-agent", "host", "audit", "trust", "nameserver"),
  ...requests("core", "discovery", "discovery-engine", "cluster", "gateway", "host", "audit", "operation", "trust"),
  ...requests("core", "dns", "dns-engine", "nameserver"),
  ...reads(...STREAMS),
  ...writes(...BUCKETS),
  ...[
    "CREATE",
    "UPDATE",
    "DELETE",
    "PURGE",
    "SNAPSHOT",
    "RESTORE",
    "MSG.DELETE",
    "LEADER.STEPDOWN",
    "PEER.REMOVE",
  ].flatMap(administers),
  ...[
    "$JS.API.STREAM.CREATE.OTHER",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.CONSUMER.DURABLE.CREATE.DV_EVENTS.c",
  ],
  ...[...READER_VERBS, "LEADER.STEPDOWN"].flatMap(comparesReplicas),
  ...["$JS.API.INFO", "$JS.API.SERVER.REMOVE", "$JS.API.META.LEADER.STEPDOWN", "$JS.API.META.RESCUE"],
  "$JS.API.ACCOUNT.PURGE.X",
  ...[
    "$SYS.REQ.CLAIMS.UPDATE",
    "$SYS.REQ.CLAIMS.DELETE",
    "$SYS.REQ.CLAIMS.PACK",
    "$SYS.REQ.SERVER.PING.JSZ",
    "$SYS.REQ.SERVER.PING.HEALTHZ",
    "$SYS.REQ.SERVER.PING.ACCOUNTZ",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.ACCOUNT.PING.CONNZ",
    "$SYS.REQ.SERVER.X.RELOAD",
  ],
  ...["$SRV.PING", "$SRV.STATS", "$SRV.INFO.node-agent"],
  ...[`${inboxPrefix(other)}.x.y`, "_INBOX.x.y", "_R_.x.y", "anything", "debvisor.anything"],
];
const SUBSCRIBE = [
  ...[own, other].flatMap((node) => [
    SUBJECT_FILTERS.rpcOf(node),
    rpcSubject(node, "node-agent", "get-facts"),
    SUBJECT_FILTERS.eventsOf(node),
    SUBJECT_FILTERS.telemetryOf(node),
    auditSubject(node),
    sealSubject(node),
  ]),
  ...[
    ...["discovery", "discovery-engine", "cluster", "gateway", "audit", "host", "operation", "maintenance", "trust"],
    ...["node-agent", "dns", "dns-engine", "nameserver"],
  ].map((service) => SUBJECT_FILTERS.rpcOfService("core", service)),
  ...[
    SUBJECT_FILTERS.rpcOf("core"),
    SUBJECT_FILTERS.eventsOf("core"),
    SUBJECT_FILTERS.allRpc,
    SUBJECT_FILTERS.allEvents,
    SUBJECT_FILTERS.allTelemetry,
    SUBJECT_FILTERS.allAudit,
    SUBJECT_FILTERS.allOperations,
    SUBJECT_FILTERS.allSeals,
  ],
  ...[
    `${inboxPrefix(other)}.>`,
    "_INBOX.>",
    "_INBOX_*.>",
    "_R_.>",
    "*",
    ">",
    "*.>",
    "$JS.>",
    "$JS.API.>",
    "$JS.EVENT.>",
    "$KV.>",
    "$KV.dv_tokens.>",
    "$SYS.>",
    "$SYS.ACCOUNT.>",
    "$SRV.>",
  ],
  ...SERVICE_PROTOCOL,
];

interface Identity {
  readonly name: string;
  readonly credential: () => Promise<Credential>;
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

const IDENTITIES: readonly Identity[] = [
  {
    name: "a node",
    credential: () => cluster().issuer.forNode(own),
    publish: [
      ...[
        STARTED,
        "discovery.node.lost",
        "cluster.member.admitted",
        "trust.authority.rotated",
        "gateway.token.created",
        "dns.record.changed",
        "dns.key.rotated",
        "host.node.rebooted",
        "maintenance.change.blocked",
        "maintenance.mode.enabled",
      ].map((type) => eventSubject(own, type)),
      telemetrySubject(own, "node-agent", "heartbeat"),
      ...audit(own),
    ],
    subscribe: [SUBJECT_FILTERS.rpcOf(own), rpcSubject(own, "node-agent", "get-facts"), ...SERVICE_PROTOCOL],
  },
  {
    name: "the core part of discovery",
    credential: () => cluster().issuer.forCore("discovery", own, contractsOf("discovery")),
    publish: [
      eventSubject("core", "discovery.node.lost"),
      eventSubject("core", "cluster.member.admitted"),
      // Whichever engine refuses because of maintenance says so; that is all of this contract that discovery may say.
      eventSubject("core", "maintenance.change.blocked"),
      eventSubject("core", "trust.authority.rotated"),
      // What members hold is asked of each; nothing else of the nodes is discovery's business.
      ...[own, other, "core"].flatMap((target) => requests(target, "trust")),
      operationSubject("op-x"),
      ...reads(
        "DV_OPS",
        "KV_dv_nodes",
        "KV_dv_members",
        "KV_dv_leases",
        "KV_dv_locks",
        "KV_dv_maintenance",
        "KV_dv_replicas",
      ),
      ...writes("dv_nodes", "dv_members", "dv_leases", "dv_locks", "dv_replicas"),
      ...audit(`discovery-${own}`),
      "$JS.API.INFO",
    ],
    subscribe: [
      ...["discovery", "discovery-engine", "cluster", "trust"].map((service) =>
        SUBJECT_FILTERS.rpcOfService("core", service),
      ),
      ...everyTelemetry(),
      ...SERVICE_PROTOCOL,
    ],
  },
  {
    name: "the core part of the gateway",
    credential: () => cluster().issuer.forCore("gateway", own, [gatewayContract]),
    publish: [
      eventSubject("core", "gateway.token.created"),
      ...requests(own, "node-agent", "host", "audit", "trust", "nameserver"),
      ...requests(other, "node-agent", "host", "audit", "trust", "nameserver"),
      ...requests("core", "discovery", "discovery-engine", "cluster", "gateway", "host", "audit", "operation", "trust"),
      ...requests("core", "dns", "dns-engine", "nameserver"),
      ...audit(`gateway-${own}`),
      ...["DV_OPS", "DV_AUDIT"].map((stream) => `$JS.API.STREAM.INFO.${stream}`),
      ...reads("DV_EVENTS", "KV_dv_nodes", "KV_dv_tokens", "KV_dv_idempotency"),
      ...writes("dv_tokens", "dv_idempotency"),
      ...["$JS.API.INFO", "$SRV.PING", "$SRV.STATS", "$SRV.INFO.node-agent"],
    ],
    subscribe: [SUBJECT_FILTERS.rpcOfService("core", "gateway"), ...everyTelemetry(), ...SERVICE_PROTOCOL],
  },
  {
    name: "the core part of the node agent",
    credential: () => cluster().issuer.forCore("node-agent", own, contractsOf("node-agent")),
    publish: [
      ...[STARTED, "host.node.rebooted", "maintenance.change.blocked", "maintenance.mode.enabled"].map((type) =>
        eventSubject("core", type),
      ),
      ...audit(`node-agent-${own}`),
      operationSubject("op-x"),
      ...requests(own, "host"),
      ...requests(other, "host"),
      ...requests("core", "discovery", "discovery-engine", "dns-engine", "host"),
      ...reads("DV_EVENTS", "DV_OPS"),
      ...reads(...["nodes", "leases", "locks", "maintenance", "operations"].map((name) => `KV_dv_${name}`)),
      ...writes("dv_leases", "dv_locks", "dv_maintenance", "dv_operations"),
      "$JS.API.INFO",
    ],
    subscribe: [
      ...["host", "operation", "maintenance", "node-agent", "nameserver"].map((service) =>
        SUBJECT_FILTERS.rpcOfService("core", service),
      ),
      ...SERVICE_PROTOCOL,
    ],
  },
  {
    name: "the core part of dns",
    credential: () => cluster().issuer.forCore("dns", own, contractsOf("dns")),
    publish: [
      ...["dns.record.changed", "dns.key.rotated", "maintenance.change.blocked"].map((type) =>
        eventSubject("core", type),
      ),
      // Keys of servers on members are written by their nodes; nothing else of the nodes is the business of dns.
      ...[own, other, "core"].flatMap((target) => requests(target, "nameserver")),
      operationSubject("op-x"),
      ...reads(
        "DV_OPS",
        ...["nodes", "leases", "locks", "maintenance", "dns", "dnsorders", "dnshosts"].map((name) => `KV_dv_${name}`),
      ),
      ...writes("dv_leases", "dv_locks", "dv_dns", "dv_dnsorders", "dv_dnshosts"),
      ...audit(`dns-${own}`),
      "$JS.API.INFO",
    ],
    subscribe: [
      ...["dns", "dns-engine"].map((service) => SUBJECT_FILTERS.rpcOfService("core", service)),
      ...SERVICE_PROTOCOL,
    ],
  },
  {
    name: "the core part of audit",
    credential: () => cluster().issuer.forCore("audit", own, contractsOf("audit")),
    publish: [
      ...audit(`audit-${own}`),
      ...[own, other, "core", ...CORE_USERS].map((user) => lastAudit(auditSubject(user))),
      sealSubject(`audit-${own}`),
      ...requests(own, "audit"),
      ...requests(other, "audit"),
      ...requests("core", "audit"),
      ...reads("DV_AUDIT", "DV_SEALS", "DV_OPS", "KV_dv_leases", "KV_dv_nodes"),
      ...writes("dv_leases"),
      "$JS.API.INFO",
    ],
    subscribe: [SUBJECT_FILTERS.rpcOfService("core", "audit"), ...SERVICE_PROTOCOL],
  },
  {
    name: "the stream administrator",
    credential: () => cluster().issuer.forStreamAdmin(own),
    publish: [
      ...["CREATE", "UPDATE", "INFO", "LEADER.STEPDOWN", "PEER.REMOVE"].flatMap(administers),
      "$JS.API.INFO",
      "$JS.API.STREAM.NAMES",
      "$JS.API.STREAM.LIST",
    ],
    subscribe: [],
  },
  {
    name: "the reader of replicas",
    credential: () => cluster().issuer.forReplicaReader(own),
    publish: ["CREATE", "MSG.NEXT", "DELETE"].flatMap(comparesReplicas),
    subscribe: [],
  },
  {
    name: "the system user",
    credential: () => cluster().issuer.forSystem(own),
    publish: [
      "$JS.API.SERVER.REMOVE",
      "$JS.API.META.LEADER.STEPDOWN",
      "$SYS.REQ.CLAIMS.UPDATE",
      "$SYS.REQ.SERVER.PING.JSZ",
      "$SYS.REQ.SERVER.PING.HEALTHZ",
      "$SYS.REQ.SERVER.PING.ACCOUNTZ",
    ],
    subscribe: [],
  },
  {
    name: "the user of a rescue",
    credential: () => cluster().issuer.forRescue(own),
    publish: ["$JS.API.SERVER.REMOVE", "$JS.API.META.RESCUE"],
    subscribe: [],
  },
  {
    name: "an event reader",
    credential: () => cluster().issuer.forEventReader("dashboard"),
    publish: [],
    subscribe: [
      SUBJECT_FILTERS.eventsOf(own),
      SUBJECT_FILTERS.eventsOf(other),
      SUBJECT_FILTERS.eventsOf("core"),
      SUBJECT_FILTERS.allEvents,
    ],
  },
];

function everyTelemetry(): string[] {
  return [SUBJECT_FILTERS.allTelemetry, SUBJECT_FILTERS.telemetryOf(own), SUBJECT_FILTERS.telemetryOf(other)];
}

test("the streams and buckets of the table are all there are", async () => {
  const { manager } = await cluster().admin();

  // The group of servers may be without a leader for a moment: the system user's line of the table asks it to step down.
  const names = await vi.waitFor(() => manager.streams.names().next(), { timeout: 15_000 });

  expect([...names].sort()).toEqual([...STREAMS].sort());
});

test.for(IDENTITIES)("$name publishes only what its line of the table says", async ({ credential, publish }) => {
  const connection = await cluster().connectBare(await credential());

  const denied = await deniedPublishes(connection, unique(PUBLISH));

  expect(unique(PUBLISH).filter((subject) => !denied.includes(subject))).toEqual(inOrderOf(PUBLISH, publish));
});

test.for(IDENTITIES)(
  "$name hears only its inbox and what its line of the table says",
  async ({ credential, subscribe }) => {
    const made = await credential();
    const connection = await cluster().connectBare(made);

    const denied = await deniedSubscriptions(connection, unique(SUBSCRIBE));

    expect(unique(SUBSCRIBE).filter((subject) => !denied.includes(subject))).toEqual(inOrderOf(SUBSCRIBE, subscribe));
    expect(await deniedSubscriptions(connection, [`${inboxPrefix(made.user)}.>`])).toEqual([]);
  },
);

function unique(list: readonly string[]): string[] {
  return [...new Set(list)];
}

function inOrderOf(all: readonly string[], some: readonly string[]): string[] {
  const unknown = some.filter((subject) => !all.includes(subject));
  return [...unknown, ...unique(all).filter((subject) => some.includes(subject))];
}
