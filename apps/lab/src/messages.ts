// SPDX-License-Identifier: Apache-2.0
/** What the launcher and a node's process say to each other over their private channel. */
import { z } from "zod";

/** From a node to the launcher. */
export const NodeMessage = z.discriminatedUnion("type", [
  /** How far joining has come. */
  z.object({ type: z.literal("joining"), what: z.string() }),
  /** The node's nats-server is a healthy member of the bus. */
  z.object({ type: z.literal("server-up"), how: z.string() }),
  z.object({ type: z.literal("ready") }),
  z.object({
    type: z.literal("state"),
    natsPid: z.number().nullable(),
    services: z.array(z.object({ name: z.string(), pid: z.number().nullable() })),
  }),
  /** The node was told to restart: it ends now and wants to be started again. */
  z.object({ type: z.literal("reboot") }),
  z.object({ type: z.literal("failed"), code: z.string(), message: z.string() }),
]);
export type NodeMessage = z.output<typeof NodeMessage>;

/** From a service in a process of its own to the node's: it answers requests now. */
export const ServiceMessage = z.object({ type: z.literal("started") });

/** Request on the control socket (`dvctl lab …`). */
export const ControlRequest = z.strictObject({
  command: z.enum(["status", "start", "stop", "kill"]),
  node: z.string().max(64).optional(),
});
export type ControlRequest = z.output<typeof ControlRequest>;
