// SPDX-License-Identifier: Apache-2.0
/**
 * What machines tell each other on the join port, once each has proved itself (handshake.ts). Everything is checked by these schemas
 * before it is looked at; what a newer version adds is refused, because a version is agreed upon in the handshake.
 */
import { ServerEndpoints } from "@debvisor/proto-events/membership";
import { NodeId, NodeName, NodeRole } from "@debvisor/proto-events/primitives";
import { z } from "zod";
import { Membership, ServerSecrets } from "../node-files.ts";

const Port = z.number().int().min(1).max(65_535);
const Pem = z.string().min(1).max(16_384);

/** Where a server's parts listen, with what stays on the machine. */
export const Endpoints = z.strictObject({
  ...ServerEndpoints.shape,
  monitor: Port,
  helper: z.tuple([Port, Port, Port]),
});
export type Endpoints = z.output<typeof Endpoints>;

/** A machine asks to be let in, or to be given what it was given before (a crash in between, a certificate that ends soon). */
const JoinRequest = z.strictObject({
  kind: z.literal("join"),
  name: NodeName,
  role: NodeRole,
  version: z.string().max(64),
  addresses: z.array(z.string().max(64)).max(32),
  endpoints: Endpoints,
  /** Public key of the node's user on the bus; the seed never leaves the machine. */
  busKey: z.string().regex(/^U[A-Z2-7]{55}$/),
  /** PKCS#10 request for the key that the machine uses for TLS from now on. */
  tlsRequest: Pem,
});
export type JoinRequest = z.output<typeof JoinRequest>;

/** A member asks anew for its certificate and for what has changed meanwhile. Only by proof `member`. */
const RefreshRequest = z.strictObject({ kind: z.literal("refresh"), tlsRequest: Pem });

/**
 * What may be asked on a proven channel. `vote`: a message of the choice of a founder, of the model's own schema. `formation`: to which
 * formation of the cluster the other side belongs. `standing`: whether a session by words has been approved. `secrets`: a server asks
 * another one for a key that it lacks.
 */
export const JoinMessage = z.discriminatedUnion("kind", [
  JoinRequest,
  RefreshRequest,
  z.strictObject({ kind: z.literal("formation") }),
  z.strictObject({ kind: z.literal("standing") }),
  z.strictObject({ kind: z.literal("secrets") }),
  z.strictObject({ kind: z.literal("vote"), message: z.unknown() }),
]);
export type JoinMessage = z.output<typeof JoinMessage>;

/** What a member hands to a machine that it lets in. */
export const Admission = z.strictObject({
  node: NodeId,
  role: NodeRole,
  incarnation: z.number().int().positive(),
  membership: Membership,
  /** JWT of the node's user on the bus. */
  nodeJwt: z.string().max(16_384),
  /** Authorities by which members' certificates are checked, PEM. */
  authorities: z.string().max(65_536),
  /** This machine's certificate, PEM. */
  certificate: Pem,
  /** Servers only: with these it can admit others. */
  secrets: ServerSecrets.optional(),
  /** What time the cluster has, milliseconds since 1970: a machine whose clock is off says so, and does nothing else with it. */
  timeMs: z.number().int(),
});
export type Admission = z.output<typeof Admission>;

/** What is answered. */
export const JoinAnswer = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("admitted"), admission: Admission }),
  z.strictObject({
    kind: z.literal("wait"),
    reason: z.string().max(300),
    retryMs: z.number().int().min(10).max(60_000),
  }),
  z.strictObject({ kind: z.literal("refused"), code: z.string().max(64), message: z.string().max(500) }),
  z.strictObject({ kind: z.literal("vote"), message: z.unknown() }),
  z.strictObject({ kind: z.literal("formation"), formation: z.string().max(64).nullable() }),
  z.strictObject({ kind: z.literal("secrets"), secrets: ServerSecrets }),
]);
export type JoinAnswer = z.output<typeof JoinAnswer>;
