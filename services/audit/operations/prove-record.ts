// SPDX-License-Identifier: Apache-2.0
/** Proves that a record is under the latest checkpoint. */
import type { auditContract } from "@debvisor/proto-events/audit";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import { DvError } from "@debvisor/shared/errors";
import type { Alarms } from "../reconcilers/alarms.ts";
import type { ReadRecorder } from "../reconcilers/read-recorder.ts";
import type { Seals } from "../reconcilers/seals.ts";
import type { Trail } from "../reconcilers/trail.ts";

type C = typeof auditContract;

export interface ProveRecordDeps {
  readonly trail: Trail;
  readonly seals: Seals;
  readonly alarms: Alarms;
  readonly reads: ReadRecorder;
}

export function proveRecordHandler({ trail, seals, alarms, reads }: ProveRecordDeps) {
  return async ({ seq }: Input<C, "proveRecord">, context: RequestContext): Promise<Output<C, "proveRecord">> => {
    await reads.record("prove-record", { seq }, context);
    const sealed = seals.latest?.sealed;
    const size = sealed?.checkpoint.size ?? 0;
    if (alarms.stopCause) throw new DvError("UNAVAILABLE", `The trail cannot be proved: ${alarms.stopCause}.`);
    if (!sealed || seq > size || size > trail.size) {
      const why = seq > trail.size ? `ends with record ${trail.size}` : `is sealed up to record ${size}`;
      throw new DvError("AUDIT_RECORD_NOT_FOUND", `The trail ${why}.`, { details: { seq, sealed: size } });
    }
    const [record = ""] = await trail.lines(seq, seq);
    return { seq, record, sealed, path: trail.tree.inclusionProof(seq - 1, size) };
  };
}
