// SPDX-License-Identifier: Apache-2.0
/** `dvctl operations wait ID`: follows an operation, whoever began it, and ends with its exit code. */
import { operationContract } from "@debvisor/proto-events/operation";
import { z } from "zod";
import { type CommandSpec, EXIT } from "../command.ts";
import { followFlags } from "../follow-flags.ts";
import { privilegeOf } from "../from-contract.ts";
import { followOperation, getOperation, reportOutcome } from "../operation-follow.ts";

const { waitOperation } = operationContract.operations;

export const operationsWait: CommandSpec = {
  noun: "operations",
  verb: "wait",
  summary: "Wait until an operation has ended; the exit code says how.",
  input: z.strictObject({ operation: waitOperation.input.shape.operation, noProgress: followFlags.noProgress }),
  args: ["operation"],
  effect: "read",
  privilege: privilegeOf(waitOperation),
  errors: waitOperation.errors,
  help: {
    examples: [
      { command: "dvctl operations wait op-k3x7w2mqabcde", does: "Follow it to its end; Ctrl-C leaves it running." },
    ],
    scenarios: [
      {
        command: "dvctl operations wait op-k3x7w2mqabcde --timeout 5m && echo done",
        does: "Wait for at most five minutes in a script; exit code 124 if it has not ended by then.",
      },
    ],
  },
  run: async (call) => {
    const seen = await getOperation(String(call.input["operation"]), call.client());
    const end = await followOperation(seen, call);
    return end === undefined ? EXIT.interrupted : reportOutcome(end, call);
  },
};
