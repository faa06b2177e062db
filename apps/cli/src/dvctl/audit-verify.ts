// SPDX-License-Identifier: Apache-2.0
/** `dvctl audit verify`: reads the whole trail and verifies it here, so that no server has to be believed. */
import { auditContract } from "@debvisor/proto-events/audit";
import { DvError } from "@debvisor/shared/errors";
import { trailLines } from "../audit-trail.ts";
import { VerifyFlags } from "../audit-verify-flags.ts";
import { type Call, type CommandSpec, EXIT } from "../command.ts";
import { privilegeOf } from "../from-contract.ts";

const { readTrail, getSeal } = auditContract.operations;
const SEAL_TIMEOUT_MS = 8_000;

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
    if (call.signal.aborted) return EXIT.interrupted;
    return (await hasAlarms(call)) ? EXIT.check : code;
  },
};

/** What the servers themselves have noticed, such as a store that was rolled back, need not show in what is there now. */
async function hasAlarms(call: Call): Promise<boolean> {
  const reply = await call.client().request({ method: "GET", path: "/v1/audit/seal", timeoutMs: SEAL_TIMEOUT_MS });
  const checked = getSeal.output.pick({ alarms: true }).safeParse(reply.body);
  if (!checked.success)
    throw new DvError("MALFORMED_REPLY", `${reply.server}: the alarms of the audit service cannot be read`);
  const { alarms } = checked.data;
  for (const alarm of alarms) call.output.error(`alarm of the audit service: ${alarm}`);
  return alarms.length > 0;
}
