// SPDX-License-Identifier: Apache-2.0
/** Facts about the cluster as a whole. The core part of discovery publishes them. */
import { z } from "zod";
import { contract, event } from "./kit.ts";

export const clusterContract = contract({
  service: "cluster",
  summary: "Formation and size of the cluster.",
  implementedBy: "discovery",
  operations: {},
  events: {
    "replicas.raised": event({
      summary: "Every stream and bucket now has its full number of replicas.",
      version: 1,
      payload: z.object({
        replicas: z.number().int().positive(),
        servers: z.array(z.string()).describe("Bus servers that hold them: node id and incarnation."),
        assets: z.array(z.string()).describe("Names of the streams that were raised."),
        ms: z.number().nonnegative().describe("Milliseconds it took."),
      }),
    }),
  },
});
