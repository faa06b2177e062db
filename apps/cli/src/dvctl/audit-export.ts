// SPDX-License-Identifier: Apache-2.0
/** `dvctl audit export > trail.jsonl`: the trail as one file that can be verified without the cluster. */
import { auditContract } from "@debvisor/proto-events/audit";
import { z } from "zod";
import { trailLines } from "../audit-trail.ts";
import { type CommandSpec, EXIT } from "../command.ts";
import { privilegeOf } from "../from-contract.ts";

const { readTrail } = auditContract.operations;

export const auditExport: CommandSpec = {
  noun: "audit",
  verb: "export",
  summary:
    "Print the audit trail as lines of JSON, with its checkpoints and chain of trust, for verification elsewhere.",
  input: z.strictObject({ from: readTrail.input.shape.from }),
  args: [],
  effect: "read",
  privilege: privilegeOf(readTrail),
  errors: readTrail.errors,
  help: {
    examples: [{ command: "dvctl audit export > trail.jsonl", does: "Keep a copy outside of the cluster." }],
    scenarios: [
      {
        command: "dvctl audit export --from 10001 > part.jsonl",
        does: "Only what came after the part that is kept already.",
      },
    ],
  },
  run: async (call) => {
    const from = Number(call.input["from"]);
    let lines = 0;
    for await (const line of trailLines(call, from)) {
      call.output.line(line);
      lines++;
    }
    call.output.info(`${lines} lines; verify them anywhere with: debvisor-audit-verify FILE`);
    return EXIT.ok;
  },
};
