// SPDX-License-Identifier: Apache-2.0
/** Flags of every command that follows an operation. */
import { z } from "zod";

export const followFlags = {
  detach: z.boolean().default(false).describe("Print the operation's id as soon as it is accepted; do not follow it."),
  noProgress: z.boolean().default(false).describe("Draw no progress bar."),
};
