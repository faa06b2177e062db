// SPDX-License-Identifier: Apache-2.0
/** Flags of `debvisor-audit-verify` and `dvctl audit verify`, apart from the verifier that only they load. */
import { z } from "zod";

/** How a trail is verified; `dvctl audit verify` has the same flags. */
export const VerifyFlags = z.strictObject({
  signatures: z
    .boolean()
    .default(false)
    .describe(
      "Check the signature of every record as well, on all cores; without it hashes and checkpoints vouch for them.",
    ),
  trust: z
    .string()
    .regex(/^O[A-Z2-7]{55}$/, "the public key of an operator: O and 55 letters and digits")
    .optional()
    .describe("Operator's public key, known from elsewhere; without it the export's own is believed."),
  checkpoint: z
    .string()
    .min(1)
    .optional()
    .describe(
      "File with a checkpoint kept elsewhere, or an older export: the trail must still contain what it vouches for.",
    ),
  minWitnesses: z.coerce
    .number()
    .int()
    .min(0)
    .max(100)
    .default(0)
    .describe("Fail when fewer nodes have cosigned the latest checkpoint."),
});
