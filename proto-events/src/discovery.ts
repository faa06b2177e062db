// SPDX-License-Identifier: Apache-2.0
/** Who is on the LAN (mDNS) and who belongs to the cluster (node registry). */
import { z } from "zod";
import { durable } from "./durable.ts";
import { contract, event, operation } from "./kit.ts";
import { Actor, NodeId, NodeName, NodeRef, NodeRole, NodeState, Reason, Timestamp, Version } from "./primitives.ts";
import { listQuery, page } from "./replies.ts";

/** Latest load figures of a node, from its heartbeat. */
export const NodeMetrics = z.object({
  overall: z
    .enum(["ok", "warn", "error", "unknown"])
    .catch("unknown")
    .describe("Worst finding of the node's own watch."),
  load1: z.number().nonnegative(),
  cpuPercent: z.number().min(0).max(100),
  memoryPercent: z.number().min(0).max(100),
  diskPercent: z.number().min(0).max(100).describe("Fullest local file system."),
  busRttMs: z.number().nonnegative().describe("Round trip to the message bus."),
});
export type NodeMetrics = z.output<typeof NodeMetrics>;

/** A registered node. */
export const Node = z.object({
  id: NodeId,
  name: NodeName,
  state: NodeState.catch("suspect"),
  roles: z.array(NodeRole.or(z.string())),
  version: Version,
  addresses: z.array(z.string()).describe("Every address, IPv4 and IPv6."),
  rack: z.string().nullable().default(null),
  zone: z.string().nullable().default(null),
  lastSeen: Timestamp.nullable().describe("Last heartbeat; null when none has been seen since the registry started."),
  registeredAt: Timestamp,
  bootId: z.string().describe("Changes whenever the node's agent starts anew."),
  metrics: NodeMetrics.nullable(),
  disabled: z.object({ reason: z.string(), actor: Actor, at: Timestamp }).nullable(),
});
export type Node = z.output<typeof Node>;

/** An entry of bucket dv_nodes: a node without what only lives in memory. Deleted nodes leave a mark behind. */
export const NodeEntry = Node.omit({ metrics: true }).extend({ deleted: z.boolean().default(false) });
export type NodeEntry = z.output<typeof NodeEntry>;

/** An instance seen by mDNS. Display only: no decision rests on it. */
export const Sighting = z.object({
  instance: z.string().describe("mDNS instance name: the node id."),
  name: z.string().describe("Host name that it claims."),
  addresses: z.array(z.string()),
  port: z.number().int().min(0).max(65535),
  role: z.string(),
  status: z.string(),
  version: z.string(),
  member: z
    .enum(["yes", "no", "unchecked", "foreign"])
    .describe(
      "yes: a registered node; no: claims this cluster but is not registered; unchecked: claims it, seen by a node that does not know the registry; foreign: another cluster or none.",
    ),
  seenAt: Timestamp,
});
export type Sighting = z.output<typeof Sighting>;

const NodeFact = z.object({
  node: NodeId,
  name: NodeName,
  state: NodeState,
  roles: z.array(z.string()),
  version: Version,
  addresses: z.array(z.string()),
});
const Silence = NodeFact.extend({ lastSeen: Timestamp.nullable(), silentMs: z.number().nonnegative() });

export const discoveryContract = contract({
  service: "discovery",
  summary: "Finds nodes on the LAN and keeps the node registry.",
  uses: {
    commands: ["trust"],
    streamsRead: ["DV_OPS"],
    streamsWrite: ["DV_OPS"],
    bucketsRead: ["dv_nodes", "dv_members", "dv_leases", "dv_locks", "dv_maintenance", "dv_replicas"],
    bucketsWrite: ["dv_nodes", "dv_members", "dv_leases", "dv_locks", "dv_replicas"],
    events: ["maintenance.change.blocked"],
    telemetry: true,
  },
  operations: {
    listNodes: operation({
      summary: "List the registered nodes with state, last heartbeat and load.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 3_000,
      permission: "discovery:node:list",
      input: z.strictObject({ ...listQuery }),
      output: page(Node),
      errors: [],
      http: { method: "GET", path: "/v1/nodes" },
      cli: {
        noun: "nodes",
        verb: "list",
        rows: "items",
        columns: [
          { heading: "ID", value: "id" },
          { heading: "NAME", value: "name" },
          { heading: "ROLE", value: "roles", as: "list" },
          { heading: "STATE", value: "state" },
          { heading: "LAST SEEN", value: "lastSeen", as: "age" },
          { heading: "VERSION", value: "version" },
          { heading: "LOAD", value: "metrics.load1", as: "fixed2" },
          { heading: "MEMORY", value: "metrics.memoryPercent", as: "percent" },
        ],
        examples: [
          { command: "dvctl nodes list", does: "Show every node." },
          { command: "dvctl nodes list --filter state!=alive", does: "Show the nodes that need a look." },
          { command: "dvctl nodes list --sort -metrics.load1 --limit 3", does: "Show the three busiest nodes." },
        ],
      },
    }),
    getNode: operation({
      summary: "Show one node.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 3_000,
      permission: "discovery:node:get",
      input: z.strictObject({ node: NodeRef }),
      output: Node,
      errors: ["NODE_NOT_FOUND"],
      http: { method: "GET", path: "/v1/nodes/{node}" },
      cli: {
        noun: "nodes",
        verb: "show",
        args: ["node"],
        examples: [{ command: "dvctl nodes show node-1", does: "Show all that is known of node-1." }],
      },
    }),
    registerNode: operation({
      summary: "Enter a node by hand before it sends its first heartbeat.",
      scope: "core",
      effect: "change",
      idempotent: true,
      timeoutMs: 5_000,
      permission: "discovery:node:register",
      role: "admin",
      input: z.strictObject({
        id: NodeId,
        name: NodeName,
        addresses: z
          .array(z.union([z.ipv4(), z.ipv6()]))
          .max(32)
          .default([])
          .describe("Addresses of the node."),
        rack: NodeName.optional().describe("Rack."),
        zone: NodeName.optional().describe("Failure zone."),
        version: Version.default("unknown"),
        roles: z.array(NodeRole).max(4).default(["worker"]).describe("Roles."),
      }),
      output: Node,
      errors: ["NODE_NAME_TAKEN"],
      http: { method: "POST", path: "/v1/nodes" },
      cli: {
        noun: "nodes",
        verb: "register",
        args: ["id", "name"],
        examples: [
          {
            command: "dvctl nodes register abcdefghij234567 rack2-node9 --rack rack2",
            does: "Enter a node that has not started yet.",
          },
        ],
        changes:
          "Adds an entry to the node registry, with state lost until the node's first heartbeat. Grants the node nothing.",
        undo: "dvctl nodes delete NODE",
      },
    }),
    disableNode: durable({
      summary: "Take a node out of every selection; it stays in the list with reason, actor and time.",
      effect: "change",
      permission: "discovery:node:disable",
      input: { node: NodeRef },
      needsReason: true,
      http: { method: "POST", path: "/v1/nodes/{node}/disable" },
      durable: { version: 1, targets: "node" },
      cli: {
        noun: "nodes",
        verb: "disable",
        args: ["node"],
        examples: [
          { command: 'dvctl nodes disable node-3 --reason "disk swap"', does: "Skip node-3 in every fan-out." },
        ],
        preconditions: "The node is registered. Nobody else holds it in maintenance.",
        changes:
          "Sets the node's state to disabled; fan-outs report it as skipped. Nothing on the node itself changes.",
        undo: "dvctl nodes enable NODE, or dvctl operations rollback ID",
      },
    }),
    enableNode: durable({
      summary: "Make a disabled node a target again.",
      effect: "change",
      permission: "discovery:node:enable",
      input: { node: NodeRef },
      http: { method: "POST", path: "/v1/nodes/{node}/enable" },
      durable: { version: 1, targets: "node" },
      cli: {
        noun: "nodes",
        verb: "enable",
        args: ["node"],
        examples: [{ command: "dvctl nodes enable node-3", does: "Put node-3 back to work." }],
        preconditions: "The node is registered. Nobody else holds it in maintenance.",
        changes: "Clears the disabled mark; the state follows from the node's heartbeats again.",
        undo: "dvctl operations rollback ID restores the former mark; or dvctl nodes disable NODE --reason TEXT",
      },
    }),
    deleteNode: operation({
      summary: "Remove a node that no longer sends heartbeats from the registry.",
      scope: "core",
      effect: "destroy",
      idempotent: true,
      timeoutMs: 5_000,
      permission: "discovery:node:delete",
      input: z.strictObject({ node: NodeRef, reason: Reason }),
      output: z.object({ id: NodeId, deleted: z.boolean() }),
      errors: ["NODE_NOT_FOUND", "NODE_ALIVE"],
      http: { method: "DELETE", path: "/v1/nodes/{node}" },
      cli: {
        noun: "nodes",
        verb: "delete",
        args: ["node"],
        examples: [{ command: 'dvctl nodes delete node-3 --reason "scrapped" --confirm', does: "Forget node-3." }],
        preconditions: "The node is lost or disabled and silent.",
        changes: "Removes the registry entry. The node's credentials are not revoked by this command.",
        undo: "A node that still runs registers itself again with its next heartbeat; otherwise dvctl nodes register.",
        recovery: "If registering again fails, start the node: its first heartbeat enters it.",
      },
    }),
    removeNode: durable({
      summary: "Remove a member from the cluster: it is cut at once and can never come back under its key.",
      effect: "destroy",
      permission: "discovery:node:remove",
      role: "admin",
      input: { node: NodeRef },
      needsReason: true,
      http: { method: "POST", path: "/v1/nodes/{node}/remove" },
      durable: { version: 1, targets: "node" },
      cli: {
        noun: "nodes",
        verb: "remove",
        args: ["node"],
        examples: [
          { command: 'dvctl nodes remove node-4 --reason "sold" --confirm', does: "Cut node-4 off for good." },
          { command: 'dvctl nodes remove node-4 --reason "sold" --check', does: "Only test whether that may be done." },
        ],
        preconditions:
          "The node is a member. A server goes only while a majority of the servers stays up; of three servers, only one that is lost; the last two never.",
        changes:
          "Enters the removal into the membership, closes joining by the cluster secret alone, revokes the node's credential on every server of the bus, takes a server out of their group after moving its replicas where there is room, and deletes the registry entry. Nothing on the node itself changes.",
        undo: "Until its credential is revoked, cancelling undoes all of it. A revocation cannot be undone.",
        recovery: "Join the machine again as a new node: dvctl nodes reset there, then dvctl nodes accept.",
      },
    }),
    discover: operation({
      summary: "Ask the LAN by mDNS which DebVisor nodes are there.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 35_000,
      permission: "discovery:lan:scan",
      input: z.strictObject({
        seconds: z.coerce.number().min(0.2).max(30).default(5).describe("How long to listen, in seconds (0.2 to 30)."),
        interface: z
          .string()
          .max(64)
          .optional()
          .describe("Address or name of the interface to ask on; default: all that discovery uses."),
      }),
      output: z.object({ items: z.array(Sighting), interfaces: z.array(z.string()) }),
      errors: ["MDNS_UNAVAILABLE"],
      http: { method: "POST", path: "/v1/discover" },
      cli: null,
    }),
  },
  events: {
    "node.appeared": event({
      summary: "A node sent its first heartbeat and entered the registry.",
      version: 1,
      payload: NodeFact,
    }),
    "node.registered": event({ summary: "A node was entered by hand.", version: 1, payload: NodeFact }),
    "node.updated": event({
      summary: "A node's name, role, version, address or boot id changed.",
      version: 1,
      payload: NodeFact.extend({ changed: z.array(z.string()) }),
    }),
    "node.suspected": event({ summary: "Heartbeats of a node are overdue.", version: 1, payload: Silence }),
    "node.lost": event({
      summary: "A node has been silent for so long that it is counted out.",
      version: 1,
      payload: Silence,
    }),
    "node.returned": event({ summary: "A suspect or lost node sends heartbeats again.", version: 1, payload: Silence }),
    "node.disabled": event({
      summary: "A node was taken out of every selection.",
      version: 1,
      payload: NodeFact.extend({ reason: z.string() }),
    }),
    "node.enabled": event({ summary: "A disabled node is a target again.", version: 1, payload: NodeFact }),
    "node.deleted": event({
      summary: "A node was removed from the registry.",
      version: 1,
      payload: NodeFact.extend({ reason: z.string() }),
    }),
    "peer.seen": event({ summary: "mDNS shows an instance that was not there before.", version: 1, payload: Sighting }),
    "peer.updated": event({
      summary: "An instance's mDNS record (role, status, address) changed.",
      version: 1,
      payload: Sighting,
    }),
    "peer.gone": event({
      summary: "An instance said goodbye on mDNS, or has not answered there for a while.",
      version: 1,
      payload: Sighting,
    }),
  },
});
