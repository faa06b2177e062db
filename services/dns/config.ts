// SPDX-License-Identifier: Apache-2.0
/** Everything configurable of dns: `dns.yaml`, `DV_DNS_<KEY>`, flags. */
import { z } from "zod";

/** Configuration of dns. A key that is not listed is refused, so that a misspelt one is not ignored. */
export const dnsConfig = z.strictObject({
  zone: z
    .string()
    .min(1)
    .max(253)
    .default("debvisor.local")
    .describe("Zone of names without a dot, where a request names none."),
  registerNodes: z
    .boolean()
    .default(true)
    .describe("Whether nodes are registered in DNS by themselves, once their zone has a primary."),
  answerMs: z
    .number()
    .int()
    .min(100)
    .max(5_000)
    .default(2_000)
    .describe("Longest time that a DNS server may take for one answer."),
});
export type DnsConfig = z.output<typeof dnsConfig>;
