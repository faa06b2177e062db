// SPDX-License-Identifier: Apache-2.0
/** `dvctl lab status`: the nodes of the local cluster with their processes. */
import { z } from "zod";
import { type CommandSpec, EXIT } from "../command.ts";
import { askLab, dataFolder, labInput, printLab } from "../lab-control.ts";

export const labStatus: CommandSpec = {
  noun: "lab",
  verb: "status",
  summary: "Show the nodes of the local cluster with their processes and ports.",
  input: z.strictObject(labInput),
  args: [],
  effect: "read",
  privilege: "The user that started the local cluster, on this machine only.",
  errors: ["LAB_NOT_RUNNING", "DATA_FOLDER_CORRUPT"],
  help: {
    examples: [{ command: "dvctl lab status", does: "Show every node of the local cluster." }],
    scenarios: [{ command: "dvctl lab status --data ./other", does: "Look at a cluster with another data folder." }],
    preconditions: "A local cluster runs (npm start).",
  },
  run: async (call) => {
    printLab(await askLab(dataFolder(call), { command: "status" }, call.signal), call);
    return EXIT.ok;
  },
};
