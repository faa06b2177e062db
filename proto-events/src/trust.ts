// SPDX-License-Identifier: Apache-2.0
/**
 * What members believe each other by: the cluster's authority, from which every certificate comes, and its replacement. Discovery answers:
 * its core part runs the rotation, its node part says what a member holds.
 */
import { z } from "zod";
import { durable } from "./durable.ts";
import { contract, event, operation } from "./kit.ts";
import { Actor, NodeId, NodeName, NodeRole, NodeState, Reason, Sha256, Timestamp } from "./primitives.ts";

/** Most authorities that members believe at a time: the old one and the new one. */
const MOST = 2;

/** What a member's files say. */
export const TrustHolding = z.object({
  authorities: z.array(Sha256).describe("Fingerprints of the authorities that it believes."),
  issuer: Sha256.nullable().describe(
    "Fingerprint of the authority that issued its certificate; null: of none that it believes.",
  ),
  keys: z.array(Sha256).describe("Fingerprints of the authorities whose key it has; none on workers."),
  inForce: z
    .boolean()
    .describe("Whether its nats-server shows that certificate and has read the files since they changed."),
});
export type TrustHolding = z.output<typeof TrustHolding>;

/** An authority as it is shown. */
export const AuthorityView = z.object({
  fingerprint: Sha256.describe("SHA-256 over its certificate."),
  notAfter: Timestamp.describe("When it ends."),
  issues: z.boolean().describe("Whether new certificates come from it."),
});

/** What a member last confirmed. */
export const TrustMemberView = z.object({
  node: NodeId,
  name: NodeName,
  role: NodeRole,
  alive: NodeState.nullable().describe("Liveness by heartbeat; null when none was heard yet."),
  generation: z.number().int().nullable().describe("The generation that it confirmed; null when it was not asked yet."),
  current: z.boolean().describe("Whether that is the generation in force."),
  confirmedAt: Timestamp.nullable().describe("When it confirmed that."),
});

export const trustContract = contract({
  service: "trust",
  summary: "The authority that certificates come from, and its replacement.",
  implementedBy: "discovery",
  operations: {
    getTrust: operation({
      summary: "Show the authorities that members believe, and what each member has confirmed.",
      scope: "core",
      effect: "read",
      idempotent: true,
      timeoutMs: 3_000,
      permission: "trust:authority:get",
      input: z.strictObject({}),
      output: z.object({
        generation: z.number().int().positive().describe("Raised with every change of what members believe."),
        authorities: z.array(AuthorityView).min(1).max(MOST).describe("The older one first."),
        rotatedAt: Timestamp.nullable().describe("When the last rotation removed an authority; null: never."),
        members: z.array(TrustMemberView),
      }),
      errors: [],
      http: { method: "GET", path: "/v1/trust" },
      cli: {
        noun: "trust",
        verb: "show",
        examples: [
          { command: "dvctl trust show", does: "Show the authority, when it ends, and who has confirmed it." },
        ],
      },
    }),
    rotateAuthority: durable({
      summary: "Replace the authority that certificates come from, and every certificate, without downtime.",
      effect: "change",
      permission: "trust:authority:rotate",
      role: "admin",
      input: {
        without: z
          .string()
          .min(1)
          .max(4_096)
          .optional()
          .describe("Workers that are off and are not waited for, by name or id, separated by commas."),
      },
      needsReason: true,
      http: { method: "POST", path: "/v1/trust/rotation" },
      durable: { version: 1, targets: null, asks: true },
      cli: {
        noun: "trust",
        verb: "rotate",
        args: [],
        examples: [
          { command: 'dvctl trust rotate --reason "yearly" --dry-run', does: "Show which members would do what." },
          {
            command: 'dvctl trust rotate --reason "yearly" --without node-4',
            does: "Do not wait for a worker that is off.",
          },
          { command: 'dvctl trust rotate --reason "yearly"', does: "Make a new authority and remove the old one." },
        ],
        preconditions: "Every member answers, workers that are named aside, and no machine is joining.",
        changes:
          "Makes a new authority, has every member believe it, issues every certificate anew, removes the old authority and its key. The keys that sign users of the bus, the route password and the cluster secret stay as they are.",
        undo: "dvctl operations cancel ID, until the old authority is removed; after that, rotate again.",
        recovery: "If it broke off while the old authority was removed, rotate again: it does what is left.",
      },
    }),
    getHolding: operation({
      summary: "Say what this node believes, after taking up what is wanted if it differs; asked by the rotation.",
      scope: "node",
      effect: "read",
      idempotent: true,
      timeoutMs: 8_000,
      permission: "trust:holding:get",
      input: z.strictObject({
        authorities: z
          .array(Sha256)
          .min(1)
          .max(MOST)
          .describe("Fingerprints of the authorities that it is to believe."),
        issuer: Sha256.describe("Fingerprint of the authority from which its certificate is to come."),
      }),
      output: TrustHolding,
      errors: [],
      http: null,
      cli: null,
    }),
  },
  events: {
    "authority.rotated": event({
      summary: "The old authority was removed; certificates of it count no more.",
      version: 1,
      payload: z.object({
        generation: z.number().int().positive(),
        before: Sha256.describe("Fingerprint of the authority that was removed."),
        after: Sha256.describe("Fingerprint of the authority in force."),
        reason: Reason,
        actor: Actor,
      }),
    }),
  },
});
