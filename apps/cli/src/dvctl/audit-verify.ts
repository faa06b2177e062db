// SPDX-License-Identifier: Apache-2.0
/** `dvctl audit verify`: reads the whole trail and verifies it here, so that no server has to be believed. */
import { auditContract } from "@debvisor/proto-events/audit";
import { z } from "zod";
import { drawTrailReport } from "../audit-report.ts";
import { trailLines } from "../audit-trail.ts";
import { type CommandSpec, EXIT } from "../command.ts";
import { privilegeOf } from "../from-contract.ts";

const { readTrail } = auditContract.operations;

const Input = z.strictObject({
  signatures: z
    .boolean()
    .default(false)
    .describe("Check the signature of every record, also where a checkpoint vouches."),
  operator: z
    .string()
    .regex(/^O[A-Z2-7]{55}$/, "an operator's public key, O and 55 characters")
    .optional()
    .describe("Public key that the cluster's chain of trust must begin with; default: what the trail says."),
  minWitnesses: z.coerce
    .number()
    .int()
    .min(0)
    .default(0)
    .describe("Fail when the latest checkpoint has fewer witnesses."),
  from: readTrail.input.shape.from,
});

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
    const { from, ...options } = Input.parse(call.input);
    const { output, signal } = call;
    // It brings workers and the chain of trust along, which no other command should load.
    const { verifyTrail } = await import("@debvisor/shared/audit/verify");
    const report = await verifyTrail(trailLines(call, from), options);
    if (signal.aborted) return EXIT.interrupted;
    output.result(report, () => drawTrailReport(report, { color: output.color, nowMs: Date.now() }));
    if (report.witnesses.length === 0) output.warn("witnesses: 0, no other node vouches for the latest checkpoint");
    if (!report.ok) output.error("the trail is not what was written; keep every server's copy before anything else");
    return report.ok ? EXIT.ok : EXIT.check;
  },
};
