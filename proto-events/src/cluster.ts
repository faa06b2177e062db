// SPDX-License-Identifier: Apache-2.0
/** The cluster as a whole: who belongs to it, how machines are let in, how it was formed. The core part of discovery answers. */
import { z } from "zod";
import { Sighting } from "./discovery.ts";
import { durable } from "./durable.ts";
import { contract, event, operation } from "./kit.ts";
import { AdmittedBy, Member } from "./membership.ts";
import { Actor, NodeId, NodeName, NodeRole, NodeState, Reason, Sha256, Timestamp } from "./primitives.ts";
import { listQuery, page } from "./replies.ts";

/** A member as it is shown: with what the registry knows of its life. */
export const MemberView = Member.omit({ kind: true, busKey: true, trust: true, order: true }).extend({
  alive: NodeState.nullable().describe("Liveness by heartbeat; null when none was heard yet."),
});
export type MemberView = z.output<typeof MemberView>;

/** A machine that waits to be let in. */
export const PendingMachine = Sighting.extend({
  words: z
    .string()
    .nullable()
    .describe("Six words, for a machine that waits with debvisor-join --words; null for one that waits for a code."),
});
export type PendingMachine = z.output<typeof PendingMachine>;

/** A certificate of a member. */
export const CertificateView = z.object({
  node: NodeId,
  name: NodeName,
  state: z.enum(["valid", "due", "expired", "unknown"]).describe("due: two thirds of its life are over."),
  serial: z.string().nullable(),
  notAfter: Timestamp.nullable(),
});
export type CertificateView = z.output<typeof CertificateView>;

/**
 * `holes`: lacks messages of a stream from which none is ever taken. `short`: lacks messages that the others have. `damaged`: has
 * messages that cannot be read or differ. `stalled`: behind, and no longer catching up. `differs`: nobody can say which one is right.
 * `absent`: its server does not know of it. `silent`: its server does not answer. `unhealthy`: its server says so, or has been silent
 * for a minute.
 */
export const ReplicaVerdict = z.enum([
  "good",
  "behind",
  "holes",
  "short",
  "damaged",
  "stalled",
  "differs",
  "absent",
  "silent",
  "unhealthy",
]);
export type ReplicaVerdict = z.output<typeof ReplicaVerdict>;

const Sequence = z.number().int().nonnegative();

/** A replica of a stream as its server describes it, and what is thought of it. */
export const ReplicaView = z.object({
  stream: z.string(),
  server: z.string().describe("Server of the bus: node id and incarnation."),
  node: z.string().describe("Name of the node; its id when it is not known."),
  leads: z.boolean().describe("Whether it is the one that takes writes."),
  messages: Sequence.nullable().describe("null: its server says nothing of it."),
  first: Sequence.nullable().describe("Sequence of its oldest message."),
  last: Sequence.nullable().describe("Sequence of its newest message."),
  deleted: Sequence.nullable().describe("Sequences in between that are not there; 0 in a sound append-only stream."),
  verdict: ReplicaVerdict,
  why: z.string().describe("What speaks against it; empty when good."),
  readAt: Timestamp.nullable().describe("When all of it was read last; null: not yet."),
});
export type ReplicaView = z.output<typeof ReplicaView>;

const MemberFact = z.object({ node: NodeId, name: NodeName, role: NodeRole, key: Sha256 });

export const clusterContract = contract({
  service: "cluster",
  summary: "Formation, members and size of the cluster.",
  implementedBy: "discovery",
  operations: {
    getCluster: operation({
      summary: "Show the cluster: how it was formed, its servers, and whether machines may still join unattended.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 3_000,
      permission: "cluster:cluster:get",
      input: z.strictObject({}),
      output: z.object({
        cluster: z.string().describe("Cluster id."),
        formation: z
          .string()
          .describe("Random id of this formation; another one with the same cluster id is a stranger."),
        foundedAt: Timestamp,
        foundedBy: NodeId,
        servers: z.object({
          declared: z.number().int().describe("How many servers the cluster is declared to have."),
          active: z.number().int().describe("Members with role server that have joined the bus."),
          alive: z.number().int().describe("Of these, how many send heartbeats."),
        }),
        workers: z.number().int().describe("Active members with role worker."),
        joining: NodeId.nullable().describe("Server that is joining the bus now."),
        unattendedUntil: Timestamp.nullable().describe("Until when the cluster secret lets machines in; null: closed."),
        badReplicas: z
          .array(z.string())
          .optional()
          .describe("Replicas of streams, or whole servers of the bus, that were not sound at the latest check."),
      }),
      errors: [],
      http: { method: "GET", path: "/v1/cluster" },
      cli: {
        noun: "cluster",
        verb: "status",
        examples: [
          { command: "dvctl cluster status", does: "Show how the cluster was formed and how many servers it has." },
        ],
      },
    }),
    growCluster: durable({
      summary: "Declare that the cluster is to have more servers: 3 or 5. Machines with role server may then join.",
      effect: "change",
      permission: "cluster:cluster:grow",
      role: "admin",
      input: {
        servers: z.coerce
          .number()
          .pipe(z.union([z.literal(3), z.literal(5)]))
          .describe("How many servers it is to have: 3 or 5."),
      },
      http: { method: "POST", path: "/v1/cluster/servers" },
      durable: { version: 1, targets: null },
      cli: {
        noun: "cluster",
        verb: "grow",
        args: ["servers"],
        examples: [{ command: "dvctl cluster grow 5", does: "Let two more servers join a cluster of three." }],
        preconditions: "Every server that was declared before has joined and is alive.",
        changes: "Raises the declared number of servers. Streams get three replicas once three servers have joined.",
        undo: "dvctl operations rollback ID, as long as no further server has joined",
      },
    }),
    listMembers: operation({
      summary: "List the machines that belong, and those that were removed.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 3_000,
      permission: "cluster:member:list",
      input: z.strictObject({ ...listQuery }),
      output: page(MemberView),
      errors: [],
      http: { method: "GET", path: "/v1/cluster/members" },
      cli: {
        noun: "cluster",
        verb: "members",
        rows: "items",
        columns: [
          { heading: "ID", value: "id" },
          { heading: "NAME", value: "name" },
          { heading: "ROLE", value: "role" },
          { heading: "STATE", value: "state" },
          { heading: "ALIVE", value: "alive" },
          { heading: "JOINED BY", value: "admittedBy" },
          { heading: "JOINED", value: "admittedAt", as: "age" },
          { heading: "ADDRESSES", value: "addresses", as: "list" },
        ],
        examples: [
          { command: "dvctl cluster members", does: "Show every member." },
          { command: "dvctl cluster members --filter state=removed", does: "Show the machines that were removed." },
        ],
      },
    }),
    listCertificates: operation({
      summary: "List the members' certificates and when they end.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 3_000,
      permission: "cluster:certificate:list",
      input: z.strictObject({ ...listQuery }),
      output: page(CertificateView),
      errors: [],
      http: { method: "GET", path: "/v1/cluster/certificates" },
      cli: {
        noun: "cluster",
        verb: "certificates",
        rows: "items",
        columns: [
          { heading: "NODE", value: "name" },
          { heading: "STATE", value: "state" },
          { heading: "ENDS", value: "notAfter" },
          { heading: "SERIAL", value: "serial" },
        ],
        examples: [{ command: "dvctl cluster certificates", does: "Show which certificates end when." }],
      },
    }),
    listReplicas: operation({
      summary: "List every replica of every stream as its server describes it, and whether it is sound.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 8_000,
      permission: "cluster:replica:list",
      input: z.strictObject({ ...listQuery }),
      output: page(ReplicaView),
      errors: [],
      http: { method: "GET", path: "/v1/cluster/replicas" },
      cli: {
        noun: "cluster",
        verb: "replicas",
        rows: "items",
        columns: [
          { heading: "STREAM", value: "stream" },
          { heading: "NODE", value: "node" },
          { heading: "MESSAGES", value: "messages" },
          { heading: "FIRST", value: "first" },
          { heading: "LAST", value: "last" },
          { heading: "DELETED", value: "deleted" },
          { heading: "VERDICT", value: "verdict" },
          { heading: "READ", value: "readAt", as: "age" },
          { heading: "WHY", value: "why" },
        ],
        examples: [
          { command: "dvctl cluster replicas", does: "Show every replica." },
          { command: "dvctl cluster replicas --filter verdict!=good", does: "Show what is not sound." },
        ],
      },
    }),
    checkReplicas: operation({
      summary: "Have every replica of every stream read in full now, instead of when its day is over.",
      scope: "core",
      effect: "change",
      idempotent: true,
      timeoutMs: 5_000,
      permission: "cluster:replica:check",
      input: z.strictObject({}),
      output: z.object({ askedAt: Timestamp.describe("A replica whose reading ended later has been read for this.") }),
      errors: [],
      http: { method: "POST", path: "/v1/cluster/replicas/check" },
      cli: {
        noun: "cluster",
        verb: "check",
        examples: [
          { command: "dvctl cluster check", does: "Ask for it; `dvctl cluster replicas` shows how far it is." },
        ],
        changes: "Reads, at a bounded rate. A replica that is found damaged is rebuilt from its peers.",
        undo: "It ends by itself.",
      },
    }),
    listPending: operation({
      summary: "List machines on the LAN that wait to be let in. What they say of themselves is unproven.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 3_000,
      permission: "cluster:pending:list",
      input: z.strictObject({}),
      output: z.object({ items: z.array(PendingMachine) }),
      errors: ["MDNS_UNAVAILABLE"],
      http: { method: "GET", path: "/v1/cluster/pending" },
      cli: {
        noun: "nodes",
        verb: "pending",
        rows: "items",
        columns: [
          { heading: "ID", value: "instance" },
          { heading: "NAME", value: "name" },
          { heading: "ROLE", value: "role" },
          { heading: "ADDRESSES", value: "addresses", as: "list" },
          { heading: "SEEN", value: "seenAt", as: "age" },
          { heading: "WORDS", value: "words" },
        ],
        examples: [{ command: "dvctl nodes pending", does: "Show the machines that wait to be let in." }],
      },
    }),
    approveNode: operation({
      summary: "Let in the machine that shows these six words. Type them as they stand on its own screen.",
      scope: "core",
      effect: "change",
      idempotent: false,
      timeoutMs: 5_000,
      permission: "cluster:node:approve",
      role: "admin",
      input: z.strictObject({
        node: NodeId.describe("Node id of the machine, as both screens show it."),
        words: z
          .string()
          .max(200)
          .regex(/^[^A-Za-z]*[A-Za-z]+(?:[^A-Za-z]+[A-Za-z]+){5}[^A-Za-z]*$/, "six words")
          .describe("The six words that debvisor-join --words shows at that machine."),
      }),
      output: z.object({
        node: NodeId,
        name: NodeName,
        role: NodeRole,
        until: Timestamp.describe("Until when it may join in the session that was approved."),
      }),
      errors: ["JOIN_WORDS_DIFFER", "MEMBER_REMOVED", "NOT_FOUND"],
      http: { method: "POST", path: "/v1/cluster/approvals" },
      cli: {
        noun: "nodes",
        verb: "approve",
        args: ["node"],
        examples: [
          {
            command: 'dvctl nodes approve abcdefghijklmnop --words "ocean lamp quiet tiger maple violin"',
            does: "Let that machine in: these words are on its screen.",
          },
        ],
        preconditions:
          "Somebody sees both screens: `dvctl nodes pending` shows the same six words as the machine. Other words mean that somebody sits in between.",
        changes: "Lets that machine in, once, as what it says it is. Other words than its own end its attempt.",
        undo: "`dvctl nodes remove NODE` once it has joined.",
      },
    }),
    acceptNode: operation({
      summary: "Make a one-time code that lets one machine in. Type it at that machine within five minutes.",
      scope: "core",
      effect: "change",
      idempotent: false,
      timeoutMs: 5_000,
      permission: "cluster:node:accept",
      role: "admin",
      input: z.strictObject({
        node: NodeId.optional().describe("Node id that the code is for; without it, whoever types the code."),
      }),
      output: z.object({
        code: z.string().describe("Ten characters; shown once."),
        until: Timestamp,
        tries: z.number().int().describe("Wrong codes after which it is void."),
        addresses: z
          .array(z.string())
          .describe("Join ports of the servers, for machines that multicast does not reach."),
      }),
      errors: ["MEMBER_REMOVED"],
      http: { method: "POST", path: "/v1/cluster/codes" },
      cli: {
        noun: "nodes",
        verb: "accept",
        args: ["node"],
        examples: [
          { command: "dvctl nodes accept", does: "Print a code; type it at the machine that waits in debvisor-join." },
        ],
        changes: "Opens joining by one code for one machine. An earlier code that was not used is void.",
        undo: "The code is void after five minutes, three wrong tries, one machine, or the next `dvctl nodes accept`.",
      },
    }),
  },
  events: {
    "replicas.raised": event({
      summary: "Every stream and bucket now has its full number of replicas.",
      version: 1,
      payload: z.object({
        replicas: z.number().int().positive(),
        servers: z.array(z.string()).describe("Bus servers that hold them: node id and incarnation."),
        assets: z.array(z.string()).describe("Names of the streams that were raised."),
        ms: z.number().nonnegative().describe("Milliseconds it took."),
      }),
    }),
    "replica.failed": event({
      summary:
        "A replica of a stream is not what its peers are. Said again by another server that takes over the checking.",
      version: 1,
      payload: z.object({
        stream: z.string().nullable().describe("null: its whole server is not healthy."),
        server: z.string().describe("Server of the bus: node id and incarnation."),
        verdict: ReplicaVerdict,
        why: z.string(),
        messages: Sequence.nullable(),
        first: Sequence.nullable(),
        last: Sequence.nullable(),
        deleted: Sequence.nullable(),
        rebuild: z.string().nullable().describe("Why it is not rebuilt now; null: it is."),
      }),
    }),
    "replica.rebuilt": event({
      summary: "Replicas that were thrown away have been filled by their peers, and are sound.",
      version: 1,
      payload: z.object({
        server: z.string().describe("Server of the bus: node id and incarnation."),
        streams: z.array(z.string()),
        ms: z.number().nonnegative().describe("Milliseconds from asking the server to sound replicas."),
      }),
    }),
    "member.admitted": event({
      summary: "A machine was let in.",
      version: 1,
      payload: MemberFact.extend({ by: AdmittedBy }),
    }),
    "member.joined": event({
      summary: "A machine that was let in has come up as a member.",
      version: 1,
      payload: MemberFact.extend({ incarnation: z.number().int().positive() }),
    }),
    "member.removed": event({
      summary: "A machine was removed; it may not come back under its key.",
      version: 1,
      payload: MemberFact.extend({ reason: Reason, actor: Actor }),
    }),
    "survivor.rescued": event({
      summary: "A server that was left alone goes on without the others, which were declared off for ever.",
      version: 1,
      payload: z.object({
        rescue: z.string().describe("Random id of the rescue."),
        survivor: NodeId,
        off: z.array(z.object({ node: NodeId, name: NodeName })).describe("Servers that were declared off."),
        formation: z.string().describe("Id of the formation from now on."),
        before: z.string().describe("Id of the formation that the others still know."),
        reason: Reason,
        actor: Actor,
      }),
    }),
    "join.refused": event({
      summary: "A machine that proved itself was refused.",
      version: 1,
      payload: z.object({ node: NodeId, name: z.string(), code: z.string(), message: z.string() }),
    }),
    "formation.doubled": event({
      summary: "Another formation of this cluster id was met. They are never merged.",
      version: 1,
      payload: z.object({ formation: z.string(), other: z.string(), node: NodeId }),
    }),
  },
});
