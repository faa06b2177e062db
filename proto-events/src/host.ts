// SPDX-License-Identifier: Apache-2.0
/**
 * What operations do to hosts: files, services, restart. People call the durable operations; the node agent's core part runs
 * them and gives signed orders to the node parts, which are the operations of scope `node`.
 */
import { z } from "zod";
import { durable } from "./durable.ts";
import { contract, event, operation } from "./kit.ts";
import { NodeId, NodeName, NodeRef, NodeSelection, Sha256, Timestamp } from "./primitives.ts";

/** Largest file that an operation carries, in bytes. */
export const MAX_FILE_BYTES = 256 * 1024;

/** Absolute path on a host, without `.` and `..` parts. */
export const HostPath = z
  .string()
  .max(1024)
  .regex(/^(?![^\0]*\/\.{0,2}(?:\/|$))\/[^\0]+$/, "an absolute path without . and .. and empty parts")
  .describe("Absolute path of a file on the host.");

/** Permission bits, octal: 0644. */
export const FileMode = z
  .string()
  .regex(/^0?[0-7]{3,4}$/, "octal permission bits such as 0644")
  .describe("Permission bits, octal.");

/** Name of a user or group as Debian allows it, or a number. */
export const OwnerName = z.string().regex(/^([a-z_][a-z0-9_-]{0,31}|\d{1,10})$/, "a user or group name, or a number");

/** A file as it is: null when there is none. */
export const FileState = z
  .object({
    sha256: Sha256,
    sizeBytes: z.number().int().nonnegative(),
    mode: z.string().describe("Permission bits, octal, four digits."),
    owner: z.string(),
    group: z.string(),
  })
  .nullable();
export type FileState = z.output<typeof FileState>;

/** How a file shall be: null when it shall not exist. */
export const FileTarget = z
  .strictObject({
    contentBase64: z
      .base64()
      .max(Math.ceil(MAX_FILE_BYTES / 3) * 4)
      .describe("Content, base64."),
    mode: FileMode.nullable().describe("Null: as it is, or 0644 for a new file."),
    owner: OwnerName.nullable().describe("Null: as it is."),
    group: OwnerName.nullable().describe("Null: as it is."),
  })
  .nullable();
export type FileTarget = z.output<typeof FileTarget>;

/** A unit that a node manages: a service of ours, or with systemd any unit. */
export const Unit = z.object({
  name: z.string(),
  state: z.enum(["running", "starting", "stopped", "failed", "unknown"]),
  invocation: z.string().nullable().describe("Changes whenever the unit is started; null while it is not."),
  startedAt: Timestamp.nullable(),
});
export type Unit = z.output<typeof Unit>;

export const UnitName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9@._:-]{0,199}$/i, "the name of a service or systemd unit")
  .describe("Name of the service: node-agent, or a systemd unit.");

export const hostContract = contract({
  service: "host",
  summary: "Files, services and restart of hosts, as durable operations.",
  implementedBy: "node-agent",
  operations: {
    restartService: durable({
      summary: "Restart a service on a node.",
      effect: "destroy",
      permission: "host:service:restart",
      role: "operator",
      input: { node: NodeRef, unit: UnitName },
      errors: ["UNIT_NOT_MANAGED"],
      http: { method: "POST", path: "/v1/nodes/{node}/services/{unit}/restart" },
      durable: { version: 1, targets: "node" },
      cli: {
        noun: "nodes",
        verb: "service restart",
        args: ["node", "unit"],
        examples: [
          { command: "dvctl nodes service restart node-2 node-agent --confirm", does: "Restart one service." },
          { command: "dvctl nodes service restart node-2 gateway --check", does: "Only test whether that would work." },
        ],
        preconditions: "The node answers. The unit is a service of ours, or systemd runs there.",
        changes: "Stops and starts the service; requests to it fail meanwhile.",
        undo: "A restart cannot be undone. A service that does not come up again is reported, with its last state.",
        recovery: "dvctl health run --nodes NODE says what is wrong; the node's log says why.",
      },
    }),
    putFile: durable({
      summary: "Write a file on nodes, keeping a backup of what it replaces.",
      effect: "change",
      permission: "host:file:put",
      role: "admin",
      fanOut: true,
      input: {
        nodes: NodeSelection,
        to: HostPath,
        contentBase64: z
          .base64()
          .max(Math.ceil(MAX_FILE_BYTES / 3) * 4)
          .describe("Content, base64; at most 256 KiB."),
        fileMode: FileMode.optional(),
        owner: OwnerName.optional().describe("Owner; default: as it is."),
        group: OwnerName.optional().describe("Group; default: as it is."),
      },
      errors: ["PATH_REFUSED", "FILE_TOO_LARGE"],
      http: { method: "POST", path: "/v1/files/put" },
      durable: { version: 1, targets: "nodes" },
      cli: {
        noun: "nodes",
        verb: "file put",
        examples: [
          {
            command: "dvctl nodes file put --from-file motd --to /etc/motd --nodes all --confirm",
            does: "Write the same file on every node.",
          },
          {
            command: "dvctl nodes file put --from-file motd --to /etc/motd --nodes role=server --check --diff",
            does: "Show what would change, line by line.",
          },
        ],
        preconditions: "The nodes answer. The folder exists. What is there is a regular file or nothing.",
        changes:
          "Writes the file beside the old one and moves it into place; the old one becomes a backup with the time in its name, of which 30 are kept.",
        undo: "dvctl operations rollback ID restores content, mode and owner.",
        recovery: "The backups are beside the file: FILE.dv-backup-TIME.",
      },
    }),
    removeFile: durable({
      summary: "Remove a file on nodes, keeping a backup.",
      effect: "destroy",
      permission: "host:file:remove",
      fanOut: true,
      input: { nodes: NodeSelection, path: HostPath },
      errors: ["PATH_REFUSED"],
      http: { method: "POST", path: "/v1/files/remove" },
      durable: { version: 1, targets: "nodes" },
      cli: {
        noun: "nodes",
        verb: "file remove",
        args: ["path"],
        examples: [
          { command: "dvctl nodes file remove /etc/motd --nodes node-2 --confirm", does: "Remove it on one node." },
        ],
        preconditions: "The nodes answer. What is there is a regular file or nothing.",
        changes: "Moves the file to a backup beside it; 30 backups are kept.",
        undo: "dvctl operations rollback ID restores content, mode and owner.",
        recovery: "The backups are beside the file: FILE.dv-backup-TIME.",
      },
    }),
    rebootNodes: durable({
      summary: "Restart nodes one after the other, each only when the one before is back and healthy.",
      effect: "destroy",
      permission: "host:node:reboot",
      role: "operator",
      fanOut: true,
      input: {
        nodes: NodeSelection,
        back: z
          .string()
          .regex(/^\d+(ms|s|m|h|d)?$/)
          .default("5m")
          .describe("Longest time until a node is back."),
      },
      errors: ["NODE_NOT_RETURNED"],
      http: { method: "POST", path: "/v1/nodes/reboot" },
      durable: { version: 1, targets: "nodes", mostPerDomain: 1, mostPerHour: 30 },
      cli: {
        noun: "nodes",
        verb: "reboot",
        args: ["nodes"],
        examples: [
          { command: "dvctl nodes reboot node-2 --confirm", does: "Restart one node and wait until it is back." },
          {
            command: 'dvctl nodes reboot node-2,node-3 --override "kernel update" --confirm',
            does: "Restart two of one failure domain, one after the other.",
          },
        ],
        preconditions: "The nodes answer, and a majority of the servers stays up without the node.",
        changes: "Restarts the host; in the local cluster, the node's process with its services and its server.",
        undo: "A restart cannot be undone.",
        recovery: "A node that does not return is named; the next ones are not begun.",
      },
    }),
    getFile: operation({
      summary: "Say how a file on this host is, and how it would differ from another content.",
      scope: "node",
      effect: "read",
      idempotent: true,
      timeoutMs: 5_000,
      permission: "host:file:get",
      role: "admin",
      input: z.strictObject({
        path: HostPath,
        target: FileTarget.optional().describe("What it shall be; for the answer's diff and changed."),
        diff: z.boolean().default(false).describe("Whether a diff is wanted."),
      }),
      output: z.object({
        path: z.string(),
        state: FileState,
        changed: z.boolean().describe("Whether target would change anything."),
        diff: z.string().nullable(),
      }),
      errors: ["PATH_REFUSED", "TOOL_FAILED"],
      http: null,
      cli: null,
    }),
    writeFile: operation({
      summary: "Bring a file of this host into a state; the engine's order to a node.",
      scope: "node",
      effect: "change",
      idempotent: true,
      timeoutMs: 10_000,
      permission: "host:file:write",
      role: "admin",
      input: z.strictObject({ path: HostPath, target: FileTarget.describe("How it shall be; null removes it.") }),
      output: z.object({ before: FileState, after: FileState, backup: z.string().nullable(), changed: z.boolean() }),
      errors: ["PATH_REFUSED", "COMMAND_REFUSED", "COMMAND_FENCED", "TOOL_FAILED"],
      http: null,
      cli: null,
    }),
    getUnit: operation({
      summary: "Say how a service of this host is.",
      scope: "node",
      effect: "read",
      idempotent: true,
      timeoutMs: 5_000,
      permission: "host:unit:get",
      input: z.strictObject({ unit: UnitName }),
      output: Unit,
      errors: ["UNIT_NOT_MANAGED", "TOOL_FAILED"],
      http: null,
      cli: null,
    }),
    restartUnit: operation({
      summary: "Restart a service of this host; the engine's order to a node.",
      scope: "node",
      effect: "change",
      idempotent: true,
      timeoutMs: 30_000,
      permission: "host:unit:restart",
      role: "admin",
      input: z.strictObject({ unit: UnitName }),
      output: z.object({ before: Unit, after: Unit }),
      errors: ["UNIT_NOT_MANAGED", "COMMAND_REFUSED", "COMMAND_FENCED", "TOOL_FAILED"],
      http: null,
      cli: null,
    }),
    getBoot: operation({
      summary: "Say since when this host has been up, and whether its services are ready.",
      scope: "node",
      effect: "read",
      idempotent: true,
      timeoutMs: 3_000,
      permission: "host:boot:get",
      input: z.strictObject({}),
      output: z.object({
        bootId: z.string(),
        startedAt: Timestamp,
        units: z.array(Unit),
        rebootable: z.boolean().describe("Whether this host can be restarted from here."),
      }),
      errors: ["TOOL_FAILED"],
      http: null,
      cli: null,
    }),
    rebootHost: operation({
      summary: "Restart this host; the engine's order to a node.",
      scope: "node",
      effect: "change",
      idempotent: true,
      timeoutMs: 10_000,
      permission: "host:host:reboot",
      role: "admin",
      input: z.strictObject({}),
      output: z.object({ bootIdBefore: z.string(), bootId: z.string() }),
      errors: ["COMMAND_REFUSED", "COMMAND_FENCED", "TOOL_FAILED"],
      http: null,
      cli: null,
    }),
  },
  events: {
    "node.rebooted": event({
      summary: "A node came back after an operation restarted it.",
      version: 1,
      payload: z.object({ node: NodeId, name: NodeName, downMs: z.number().nonnegative() }),
    }),
    "file.changed": event({
      summary: "An operation wrote or removed a file on this node.",
      version: 1,
      payload: z.object({ path: z.string(), before: FileState, after: FileState, backup: z.string().nullable() }),
    }),
    "command.refused": event({
      summary: "The node refused a command whose envelope is not what it must be.",
      version: 1,
      payload: z.object({
        command: z.string(),
        issuer: z.string().nullable(),
        cause: z.string(),
        count: z.number().int().positive().describe("Refusals that it stands for; the first of them is named."),
      }),
    }),
  },
});
