// SPDX-License-Identifier: Apache-2.0
/** `dvctl audit prove SEQ`: the command of the contract; the proof is checked here before it is shown. */
import { auditContract } from "@debvisor/proto-events/audit";
import { DvError } from "@debvisor/shared/errors";
import { printable } from "@debvisor/shared/output";
import { renderRecord } from "@debvisor/shared/table";
import type { ApiReply } from "../client.ts";
import type { Call, CommandSpec } from "../command.ts";
import { EXIT } from "../command.ts";
import { deriveOne } from "../derive.ts";

const { proveRecord } = auditContract.operations;
const derived = deriveOne(proveRecord);
const LIMIT_MS = proveRecord.timeoutMs + 3_000;

export const auditProve: CommandSpec = {
  ...derived,
  summary:
    "Prove that a record is in the trail, and check the proof: its line and the hashes up to a signed checkpoint.",
  run: async (call) => {
    const { seq } = call.given;
    const path = `/v1/audit/records/${encodeURIComponent(String(seq))}/proof`;
    const reply = await call.client().request({ method: "GET", path, timeoutMs: LIMIT_MS });
    return await report(reply, call);
  },
};

async function report(reply: ApiReply, { output }: Call): Promise<number> {
  const checked = proveRecord.output.safeParse(reply.body);
  if (!checked.success) {
    throw new DvError("MALFORMED_REPLY", `${reply.server}: the proof cannot be read`, { cause: checked.error });
  }
  const { leafHash, verifyInclusion } = await import("@debvisor/shared/audit/merkle");
  const { seq, record, sealed, path } = checked.data;
  const { size, root, sealer, time } = sealed.checkpoint;
  const leaf = leafHash(record);
  const holds = verifyInclusion({ index: seq - 1, size, leaf, root, path });
  const shown = {
    seq,
    leaf,
    path,
    root,
    checkpoint: `${size} records, ${time}, by ${sealer}`,
    witnesses: sealed.witnesses.map(({ witness }) => witness),
    "in the tree": holds ? "yes" : "no",
  };
  const style = { color: output.color, nowMs: Date.now() };
  output.result(reply.body, () => `${printable(record)}\n\n${renderRecord(shown, style)}`, reply.text);
  if (holds) return EXIT.ok;
  output.error(`the proof does not hold: record ${seq} is not what the checkpoint vouches for`);
  return EXIT.check;
}
