// SPDX-License-Identifier: Apache-2.0
/** `dvctl audit verify`: reads the whole trail and verifies it here, so that no server has to be believed. */
import { auditContract } from "@debvisor/proto-events/audit";
import { trailLines } from "../audit-trail.ts";
import { VerifyFlags } from "../audit-verify-flags.ts";
import { type CommandSpec, EXIT } from "../command.ts";
import { privilegeOf } from "../from-contract.ts";

const { readTrail } = auditContract.operations;

const Input = VerifyFlags.extend({ from: readTrail.input.shape.from });

export const auditVerify: CommandSpec = {
  noun: "audit",
  verb: "verify",
  summary: "Read the audit trail and verify it on this machine: chains, tree, checkpoints, witnesses, signatures.",
  input: Input,
  args: [],
  effect: "read",
  privilege: privilegeOf(readTrail),
  errors: readTrail.errors,
  help: {
    examples: [
      { command: "dvctl audit verify", does: "Verify everything; exit code 6 when something was altered." },
      { command: "dvctl audit verify --signatures", does: "Check every record's signature as well." },
    ],
    scenarios: [
      {
        command: "dvctl audit verify --min-witnesses 2 --quiet || echo alarm",
        does: "Insist on two other nodes that vouch for the latest checkpoint.",
      },
    ],
  },
  run: async (call) => {
    const { from, ...flags } = Input.parse(call.input);
    // It brings workers and the chain of trust along, which no other command should load.
    const { verifyLines } = await import("../audit-verify-program.ts");
    const code = await verifyLines(trailLines(call, from), flags, call);
    return call.signal.aborted ? EXIT.interrupted : code;
  },
};
