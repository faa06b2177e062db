// SPDX-License-Identifier: Apache-2.0
/** Maintenance mode of nodes and of the cluster. The node agent's core part answers. */
import { z } from "zod";
import { durable } from "./durable.ts";
import { contract, event, operation } from "./kit.ts";
import { Actor, Duration, NodeRef, OperationId, Timestamp } from "./primitives.ts";

/** Name under which the whole cluster is in maintenance. */
export const CLUSTER = "cluster";

/** An entry of bucket dv_maintenance, by node id or `cluster`. */
export const Maintenance = z.object({
  target: z.string().describe("Node id, or cluster."),
  name: z.string().describe("Node name, or cluster."),
  holder: Actor.describe("Who enabled it; new changes by others are refused."),
  user: z.string().nullable(),
  reason: z.string().nullable(),
  operation: OperationId.describe("The operation that enabled it."),
  since: Timestamp,
  until: Timestamp.nullable().describe("When it ends by itself; null: when somebody disables it."),
});
export type Maintenance = z.output<typeof Maintenance>;

const target = {
  node: NodeRef.optional().describe("Node id or name; without it, give cluster."),
  cluster: z.stringbool().or(z.boolean()).default(false).describe("The whole cluster instead of a node."),
};

const columns = [
  { heading: "TARGET", value: "name" },
  { heading: "HOLDER", value: "holder" },
  { heading: "REASON", value: "reason" },
  { heading: "SINCE", value: "since", as: "age" },
  { heading: "UNTIL", value: "until" },
  { heading: "OPERATION", value: "operation" },
] as const;

export const maintenanceContract = contract({
  service: "maintenance",
  summary: "Maintenance mode: refuses new changes of a node or of the cluster, except its holder's.",
  implementedBy: "node-agent",
  operations: {
    enableMaintenance: durable({
      summary: "Put a node, or the cluster, into maintenance.",
      effect: "change",
      permission: "maintenance:mode:enable",
      input: { ...target, until: Duration.optional().describe("End it by itself after this time: 90s, 30m, 2h, 1d.") },
      http: { method: "POST", path: "/v1/maintenance/enable" },
      durable: { version: 1, targets: null, asks: true },
      cli: {
        noun: "maintenance",
        verb: "enable",
        args: ["node"],
        examples: [
          {
            command: 'dvctl maintenance enable node-2 --reason "disk swap" --until 2h',
            does: "Keep others off node-2 for two hours.",
          },
          { command: "dvctl maintenance enable --cluster", does: "Refuse every new change by anybody else." },
        ],
        preconditions: "The node is registered. Nobody else holds it in maintenance.",
        changes: "New changes of the node are refused with exit code 5, except your own. What runs goes on.",
        undo: "dvctl maintenance disable NODE",
        recovery:
          "An entry whose holder is gone can be ended by anybody with the permission: dvctl maintenance disable NODE.",
      },
    }),
    disableMaintenance: durable({
      summary: "End maintenance of a node, or of the cluster.",
      effect: "change",
      permission: "maintenance:mode:disable",
      input: target,
      http: { method: "POST", path: "/v1/maintenance/disable" },
      durable: { version: 1, targets: null },
      cli: {
        noun: "maintenance",
        verb: "disable",
        args: ["node"],
        examples: [
          { command: "dvctl maintenance disable node-2", does: "Let changes of node-2 through again." },
          { command: "dvctl maintenance disable --cluster", does: "Let all changes through again." },
        ],
        changes: "Removes the entry; new changes are accepted again.",
        undo: "dvctl operations rollback ID, or dvctl maintenance enable NODE",
      },
    }),
    getMaintenance: operation({
      summary: "Show what is in maintenance, since when, by whom and why.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 3_000,
      permission: "maintenance:mode:get",
      input: z.strictObject({ node: NodeRef.optional().describe("Only this node, and the cluster.") }),
      output: z.object({ items: z.array(Maintenance) }),
      errors: ["NODE_NOT_FOUND"],
      http: { method: "GET", path: "/v1/maintenance" },
      cli: {
        noun: "maintenance",
        verb: "status",
        args: ["node"],
        rows: "items",
        columns,
        examples: [
          { command: "dvctl maintenance status", does: "Show everything that is in maintenance." },
          { command: "dvctl maintenance status node-2", does: "Show whether node-2 is." },
        ],
      },
    }),
  },
  events: {
    "mode.enabled": event({
      summary: "A node, or the cluster, went into maintenance.",
      version: 1,
      payload: Maintenance,
    }),
    "mode.disabled": event({
      summary: "Maintenance was ended.",
      version: 1,
      payload: Maintenance.extend({ by: Actor }),
    }),
    "mode.expired": event({
      summary: "Maintenance ended because its time was over.",
      version: 1,
      payload: Maintenance,
    }),
    "change.blocked": event({
      summary: "A change was refused because of maintenance.",
      version: 1,
      payload: z.object({ target: z.string(), name: z.string(), holder: Actor, actor: Actor, type: z.string() }),
    }),
  },
});
