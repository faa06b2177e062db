// SPDX-License-Identifier: Apache-2.0
/** `dvctl audit status`: the command of the contract, without the signatures and credentials that only programs read. */
import { auditContract } from "@debvisor/proto-events/audit";
import { DvError } from "@debvisor/shared/errors";
import { renderRecord } from "@debvisor/shared/table";
import { formatAge } from "@debvisor/shared/units";
import { EXIT } from "../command.ts";
import { deriveOne } from "../derive.ts";

const { getSeal } = auditContract.operations;

export const auditStatus = deriveOne(getSeal, (reply, _cli, { output }) => {
  const checked = getSeal.output.safeParse(reply.body);
  if (!checked.success)
    throw new DvError("MALFORMED_REPLY", `${reply.server}: the state of the trail cannot be read`, {
      cause: checked.error,
    });
  const { sealed, witnesses, records, unsealed, openIntents, alarms, ...more } = checked.data;
  const nowMs = Date.now();
  const shown = {
    records,
    "sealed up to": sealed?.checkpoint.size ?? 0,
    "not sealed yet": unsealed,
    checkpoint: sealed === null ? null : `${formatAge(sealed.checkpoint.time, nowMs)} by ${sealed.checkpoint.sealer}`,
    root: sealed?.checkpoint.root ?? null,
    witnesses: sealed === null || witnesses === 0 ? 0 : sealed.witnesses.map(({ witness }) => witness),
    "intents without outcome": openIntents,
    ...more,
    alarms,
  };
  output.result(reply.body, () => renderRecord(shown, { color: output.color, nowMs }), reply.text);
  for (const alarm of alarms) output.error(alarm);
  return alarms.length === 0 ? EXIT.ok : EXIT.check;
});
