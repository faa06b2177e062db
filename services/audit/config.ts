// SPDX-License-Identifier: Apache-2.0
/** Everything configurable of the audit service: `audit.yaml`, `DV_AUDIT_<KEY>`, flags. */
import { z } from "zod";

/** Configuration of the audit service. A key that is not listed is refused, so that a misspelt one is not ignored. */
export const auditConfig = z.strictObject({
  sealEveryMs: z
    .number()
    .int()
    .min(100)
    .max(600_000)
    .default(10_000)
    .describe("Longest time for which new records stay without a checkpoint."),
  sealEveryRecords: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(1_000)
    .describe("New records after which a checkpoint is signed at once."),
  witnessWaitMs: z
    .number()
    .int()
    .min(100)
    .max(10_000)
    .default(3_000)
    .describe("Longest time to wait for two other nodes to cosign a checkpoint."),
  orphanAfterMs: z
    .number()
    .int()
    .min(100)
    .max(3_600_000)
    .default(60_000)
    .describe("Time for which an intent without outcome is left alone although nothing of it runs any more."),
  checkEveryMs: z
    .number()
    .int()
    .min(50)
    .max(60_000)
    .default(5_000)
    .describe("Time between comparisons of the stored trail with what this instance knows of it."),
  leaseSeconds: z
    .number()
    .int()
    .min(2)
    .max(3_600)
    .default(10)
    .describe("Time until another server takes over sealing and reaping from one that died."),
  archiveEveryRecords: z
    .number()
    .int()
    .min(10)
    .max(1_000_000)
    .default(50_000)
    .describe("Sealed records after which each server writes and verifies an archive file of them."),
  journal: z
    .boolean()
    .default(true)
    .describe("Whether to copy new records to the journal of this host. Never in the local cluster."),
});
export type AuditConfig = z.output<typeof auditConfig>;
