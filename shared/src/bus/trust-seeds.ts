// SPDX-License-Identifier: Apache-2.0
/** The secret keys of the cluster's authority over the bus, as they are kept in a file of mode 0600. Data only. */
import { z } from "zod";

const Seed = z.string().regex(/^S[A-Z2-7]{57}$/);

/** The secret keys of the authority. */
export const TrustSeeds = z.strictObject({
  operator: Seed,
  system: Seed,
  core: Seed,
  nodes: Seed,
  enrol: Seed,
  /** Signs node users; bound to the node template. */
  nodeSigner: Seed,
  /** Signs the users of core parts. */
  coreSigner: Seed,
});
export type TrustSeeds = z.output<typeof TrustSeeds>;
