// SPDX-License-Identifier: Apache-2.0
/**
 * Schemas of the files that set machines up before they belong to a cluster (REQUIREMENTS FB-18): `preseed.yaml` of one
 * machine, `inventory.yaml` of all. A key that is not listed is refused, so that a misspelt one is not ignored.
 */
import { NodeName, NodeRole } from "@debvisor/proto-events/primitives";
import { z } from "zod";

const text = z.string().min(1).max(1000);
const words = z.array(text).max(1000);

/** `/etc/debvisor/preseed.yaml`. */
export const preseedFile = z.strictObject({
  cluster: z
    .strictObject({ id: text.optional(), secret: text.optional() })
    .optional()
    .describe("Cluster to belong to."),
  role: NodeRole.optional(),
  profile: text.optional().describe("Profile of the machine."),
  network: z.record(z.string(), z.unknown()).optional().describe("Settings of the network, by interface."),
  ceph: z.strictObject({ init: z.boolean().optional(), monitors: words.optional(), osds: words.optional() }).optional(),
  k8s: z.strictObject({ init: z.boolean().optional(), endpoint: text.optional() }).optional(),
  addons: words.optional(),
  adminKeys: words.optional().describe("Public SSH keys of administrators."),
});

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
