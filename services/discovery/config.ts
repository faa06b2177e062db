// SPDX-License-Identifier: Apache-2.0
/** Everything configurable of discovery: `discovery.yaml`, `DV_DISCOVERY_<KEY>`, flags. */
import { readMembership } from "@debvisor/shared/node-files";
import { z } from "zod";

/** Configuration of discovery. A key that is not listed is refused, so that a misspelt one is not ignored. */
export const discoveryConfig = z.strictObject({
  mdns: z.boolean().default(true).describe("Whether to announce this node by mDNS and to look for others."),
  interfaces: z
    .array(z.string().min(1).max(64))
    .max(32)
    .default([])
    .describe("Names or IPv4 addresses of the interfaces for mDNS; empty: all that are not internal."),
  joinPort: z
    .number()
    .int()
    .min(1)
    .max(65_535)
    .default(8422)
    .describe("Join port where the membership of this node names none. Announced by mDNS."),
  unattendedHours: z
    .number()
    .min(0)
    .max(8_760)
    .default(24)
    .describe("Hours after the founding in which the cluster secret alone lets machines in; 0: never."),
  scanRefreshMs: z
    .number()
    .int()
    .min(200)
    .max(600_000)
    .default(10_000)
    .describe("Time between mDNS questions. Instances silent for six of these are dropped."),
  suspectAfterMs: z
    .number()
    .int()
    .min(100)
    .max(600_000)
    .default(6_000)
    .describe("Silence after which a node is suspect."),
  lostAfterMs: z.number().int().min(200).max(3_600_000).default(15_000).describe("Silence after which a node is lost."),
  checkEveryMs: z.number().int().min(50).max(60_000).default(500).describe("Time between looks at all nodes."),
  leaseSeconds: z
    .number()
    .int()
    .min(2)
    .max(3_600)
    .default(10)
    .describe("Time until another server takes over the registry of one that died."),
});
export type DiscoveryConfig = z.output<typeof discoveryConfig>;

/** The join port that the others know of this server; the configured one where none is in its membership file. */
export function joinPortOf(dir: string, { joinPort }: Pick<DiscoveryConfig, "joinPort">): number {
  return readMembership(dir)?.server?.joinPort ?? joinPort;
}
