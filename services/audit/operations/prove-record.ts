// SPDX-License-Identifier: Apache-2.0
/** Proves that a record is under the latest checkpoint. */
import type { auditContract } from "@debvisor/proto-events/audit";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
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
  readonly clock: Clock;
}

/** For how long a server may know less than another one, which has shown a checkpoint already. */
const LAG_MS = 1_000;
const LOOK_MS = 50;

export function proveRecordHandler({ trail, seals, alarms, reads, clock }: ProveRecordDeps) {
  const untilProvable = async (seq: number): Promise<void> => {
    const deadline = clock.monotonic() + LAG_MS;
    const isProvable = () => {
      const size = seals.latest?.sealed?.checkpoint.size ?? 0;
      return seq <= size && size <= trail.size;
    };
    while (!isProvable() && !alarms.stopCause && clock.monotonic() < deadline) await clock.sleep(LOOK_MS);
  };
  return async ({ seq }: Input<C, "proveRecord">, context: RequestContext): Promise<Output<C, "proveRecord">> => {
    await reads.record("prove-record", { seq }, context);
    await untilProvable(seq);
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
