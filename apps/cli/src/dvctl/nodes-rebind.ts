// SPDX-License-Identifier: Apache-2.0
/** `dvctl nodes rebind ID`: binds the node's key to the machine it is typed on, after hardware or system were replaced. */
import { NodeId } from "@debvisor/proto-events/primitives";
import { systemClock, timestamp } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import { rebind } from "@debvisor/shared/machine-binding";
import { readNode } from "@debvisor/shared/node-files";
import { z } from "zod";
import { type Call, type CommandSpec, EXIT } from "../command.ts";
import { agreed, folderOf, giveToOwner, MACHINE_PRIVILEGE, nodeDirFlag } from "../machine-flags.ts";

const Input = z.strictObject({
  id: NodeId.describe("Node id of this machine, so that no other one is hit."),
  nodeDir: nodeDirFlag,
});

const CHANGES =
  "Writes by what this machine is recognised: its machine id and its hardware's UUID. At its next start the node tells the cluster (event node-agent.key.moved).";

export const nodesRebind: CommandSpec = {
  noun: "nodes",
  verb: "rebind",
  summary: "Go on as the same node on this machine, after its hardware or its system was replaced.",
  input: Input,
  args: ["id"],
  // On a copy it would make one node of two machines: it is asked for like what destroys.
  effect: "destroy",
  privilege: MACHINE_PRIVILEGE,
  errors: ["DATA_FOLDER_CORRUPT", "INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAVAILABLE"],
  help: {
    examples: [
      { command: "dvctl nodes rebind --confirm abcdefghijklmnop", does: "This machine is that node from now on." },
    ],
    scenarios: [
      { command: "dvctl nodes show abcdefghijklmnop", does: "Before: whether that node runs on another machine." },
    ],
    preconditions:
      "No other machine runs with this disk or a copy of it. A copy is reset instead: `dvctl nodes reset`.",
    changes: CHANGES,
    undo: "Moving the disk back and running it again there.",
    recovery: "Run it again; the file is written whole or not at all.",
  },
  run: (call) =>
    agreed(call, { title: "dvctl nodes rebind", changes: CHANGES, undo: "Run it on the other machine again." }, () =>
      rebindHere(call),
    ),
};

function rebindHere(call: Call): number {
  const input = Input.parse(call.input);
  const dir = folderOf(input.nodeDir, call);
  const node = readNode(dir);
  if (node.id !== input.id)
    throw new DvError(
      "INVALID_ARGUMENT",
      `This is node ${node.id} (${node.name}), not ${input.id}; nothing was written.`,
    );
  const by = rebind(dir, node, timestamp(systemClock));
  if (by.length === 0)
    throw new DvError("UNAVAILABLE", "This machine has neither a machine id nor a hardware UUID that can be read.");
  giveToOwner(dir);
  call.output.result({ node: node.id, name: node.name, recognisedBy: by }, () =>
    [`node ${node.id} (${node.name}) belongs to this machine`, ...by.map((mark) => `recognised by ${mark}`)].join("\n"),
  );
  call.output.info("its services start within seconds; otherwise: systemctl restart debvisor.target");
  return EXIT.ok;
}
