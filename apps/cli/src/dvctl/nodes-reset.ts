// SPDX-License-Identifier: Apache-2.0
/** `dvctl nodes reset ID`: makes the machine it is typed on nobody's, so that it joins as a new node. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { NodeId } from "@debvisor/proto-events/primitives";
import { readMembership } from "@debvisor/shared/node-files";
import { z } from "zod";
import { type Call, type CommandSpec, EXIT } from "../command.ts";
import { contextCluster } from "../context.ts";
import { agreed, etcFlag, folderOf, MACHINE_PRIVILEGE, nodeDirFlag } from "../machine-flags.ts";

const Input = z.strictObject({
  id: NodeId.describe("Node id of this machine, so that no other one is hit."),
  nodeDir: nodeDirFlag,
  etc: etcFlag,
});

const CHANGES =
  "Deletes this machine's key, membership, credentials, secrets, promises and its copy of the cluster's data. State of the services, such as audit records not sent yet, is put aside.";

export const nodesReset: CommandSpec = {
  noun: "nodes",
  verb: "reset",
  summary: "Make this machine leave: delete its identity and all that a cluster gave it. It then joins as a new node.",
  input: Input,
  args: ["id"],
  effect: "destroy",
  privilege: MACHINE_PRIVILEGE,
  errors: ["CONFLICT", "DATA_FOLDER_CORRUPT", "PERMISSION_DENIED"],
  help: {
    examples: [
      { command: "dvctl nodes reset --confirm abcdefghijklmnop", does: "Reset this machine, which is that node." },
    ],
    scenarios: [
      {
        command: "dvctl cluster members",
        does: "Before: which node this machine is, and whether others hold the data.",
      },
    ],
    preconditions:
      "The node's services and its nats-server are stopped (systemctl stop debvisor.target). A server was removed from its cluster first, or the cluster keeps a majority without it.",
    changes: CHANGES,
    undo: "Cannot be undone: the key is gone.",
    recovery: "After a power cut run it again; a machine without a membership file starts no service.",
  },
  run: (call) =>
    agreed(call, { title: "dvctl nodes reset", changes: CHANGES, undo: "Cannot be undone." }, () => reset(call)),
};

async function reset(call: Call): Promise<number> {
  const input = Input.parse(call.input);
  const { resetNode } = await import("../../../../services/discovery/joining/reset.ts");
  const dir = folderOf(input.nodeDir, call);
  const cluster = readMembership(dir)?.cluster;
  const { deleted, ...done } = resetNode(dir, input.id);
  // The key of a cluster that was left is worth nothing here, and stands in the way of founding another.
  const context = join(folderOf(input.etc, call), "context.json");
  const isOfIt = cluster !== undefined && contextCluster(context) === cluster;
  if (isOfIt) rmSync(context);
  const all = isOfIt ? [...deleted, context] : deleted;
  call.output.result({ ...done, deleted: all }, () => all.map((path) => `deleted ${path}`).join("\n"));
  if (done.keptState !== null) call.output.info(`kept: ${done.keptState}`);
  call.output.info(
    "this machine is nobody's now: debvisor-join, a preseed file or dvctl cluster init gives it a new identity",
  );
  return EXIT.ok;
}
