// SPDX-License-Identifier: Apache-2.0
/**
 * Schema of the file that lists all machines of a site (REQUIREMENTS FB-18), `inventory.yaml`; that of one machine's `preseed.yaml` is
 * in shared/src/join. A key that is not listed is refused, so that a misspelt one is not ignored.
 */
import { NodeName } from "@debvisor/proto-events/primitives";
import { z } from "zod";

const text = z.string().min(1).max(1000);

/** `/etc/debvisor/inventory.yaml`. */
export const inventoryFile = z.strictObject({
  hosts: z
    .array(
      z.strictObject({
        name: NodeName,
        address: text.describe("Address or host name."),
        roles: z.array(text).default([]),
        rack: text.optional(),
        zone: text.optional(),
      }),
    )
    .max(10_000),
});
