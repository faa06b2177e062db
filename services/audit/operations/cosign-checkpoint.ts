// SPDX-License-Identifier: Apache-2.0
/** Cosigns a checkpoint as a witness. */
import type { auditContract } from "@debvisor/proto-events/audit";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { Witness } from "../reconcilers/witness.ts";

type C = typeof auditContract;

export function cosignCheckpointHandler({ witness }: { readonly witness: Witness }) {
  return ({ checkpoint, since }: Input<C, "cosignCheckpoint">): Output<C, "cosignCheckpoint"> =>
    witness.cosign(checkpoint, since);
}
