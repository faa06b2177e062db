// SPDX-License-Identifier: Apache-2.0
/**
 * Orders to nodes (RULES.md 11). A node does not trust whoever can reach its subjects: an order carries an envelope that names
 * the command, the node, the hash of the arguments and its place in an operation, signed with the sender's own key, and the
 * user JWT by which the cluster's authority gave that key the right `command:<service>`. The node checks all of it before it
 * parses the arguments.
 *
 * The memory of used nonces is the process's. After a restart of the node's process an order of the last minutes could be sent
 * again; it then meets the ledger, which answers a repeat with what it has recorded and refuses what a newer owner has overtaken.
 */
import { createHash, type KeyObject, randomBytes } from "node:crypto";
import { parseRpcSubject } from "@debvisor/proto-events/subjects";
import type { Msg, MsgHdrs } from "@nats-io/nats-core";
import canonicalize from "canonicalize";
import { z } from "zod";
import type { Clock } from "../clock.ts";
import { DvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Order, Refusal, RefusalCause, Signer } from "./bus.ts";
import { credentialParts, isSigned, publicKeyOf } from "./keys.ts";
import { commandTag } from "./permissions.ts";
import type { Credential } from "./trust.ts";
import { HEADER, printable } from "./wire.ts";

/** Life of an order. */
const LIFE_MS = 60_000;
/** Difference of two clocks of the cluster that a node puts up with. */
const SKEW_MS = 300_000;
/** Nonces remembered; each for at most LIFE_MS + 2 × SKEW_MS. More orders than that are refused, not forgotten. */
const MAX_NONCES = 65_536;
/** Certificates remembered: one for each core part on each server, and those that were there before a renewal. */
const MAX_CERTIFICATES = 256;
const MAX_ENVELOPE = 4_096;
const MAX_CERTIFICATE = 32_768;
const SIGNATURE = /^[A-Za-z0-9_-]{86}$/;

const Envelope = z.strictObject({
  v: z.literal(1),
  cmd: z.string().max(130),
  node: z.string().max(63),
  operation: z.string().min(1).max(100),
  step: z.string().min(1).max(200),
  direction: z.enum(["do", "undo"]),
  epoch: z.int().nonnegative(),
  resource: z.string().max(500).nullable(),
  fence: z.int().nonnegative().nullable(),
  issuer: z.string().max(130),
  issuedAt: z.int(),
  expiresAt: z.int(),
  nonce: z.string().regex(/^[0-9a-f]{32}$/),
  argsHash: z.string().regex(/^[0-9a-f]{64}$/),
});
type Envelope = z.output<typeof Envelope>;

/** What of a user JWT (ADR-14, JWT version 2) decides. */
const Claims = z.object({
  iss: z.string(),
  sub: z.string(),
  name: z.string(),
  exp: z.number().optional(),
  nbf: z.number().optional(),
  nats: z.object({ type: z.literal("user"), tags: z.array(z.string()).optional() }),
});
type Certificate = z.output<typeof Claims> & { readonly key: KeyObject };

/** Signs with the key of a credential. @throws TypeError when it holds no JWT and seed */
export function signerOf({ user, creds }: Credential): Signer {
  const { jwt, pair } = credentialParts(creds);
  return { user, jwt, publicKey: pair.getPublicKey(), sign: (bytes) => pair.sign(bytes) };
}

/** What an envelope is made of. `payload` are the bytes as they are sent. */
export interface Command {
  /** `<service>.<operation>` as on the wire. */
  readonly cmd: string;
  readonly node: string;
  readonly order: Order;
  readonly payload: Uint8Array;
  readonly clock: Clock;
}

/** Puts the signed envelope of an order into the headers of its request. */
export function sealCommand(headers: MsgHdrs, signer: Signer, { cmd, node, order, payload, clock }: Command): void {
  const issuedAt = Math.floor(clock.now());
  const { operation, step, direction, epoch, resource, fence } = order;
  const envelope: Envelope = Envelope.parse({
    v: 1,
    cmd,
    node,
    operation,
    step,
    direction,
    epoch,
    resource,
    fence,
    issuer: signer.user,
    issuedAt,
    expiresAt: issuedAt + LIFE_MS,
    nonce: randomBytes(16).toString("hex"),
    argsHash: sha256(payload),
  });
  const text = Buffer.from(canonicalize(envelope) ?? "");
  headers.set(HEADER.command, text.toString("base64url"));
  headers.set(HEADER.commandSignature, Buffer.from(signer.sign(text)).toString("base64url"));
  headers.set(HEADER.commandCertificate, signer.jwt);
}

export interface VerifierOptions {
  readonly nodeId: string;
  /** Public keys of whoever may sign the users that give orders. */
  readonly signers: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
}

/** Why a command is refused, on its way to the answer. */
class Refused extends Error {
  readonly reason: RefusalCause;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(reason: RefusalCause, message: string, details: Readonly<Record<string, unknown>> = {}) {
    super(message);
    this.reason = reason;
    this.details = details;
  }
}

/** Verifies the orders to one node. */
export class CommandVerifier {
  readonly #options: VerifierOptions;
  /** By SHA-256 of the JWT; only those whose signature is right. */
  readonly #certificates = new Map<string, Certificate>();
  /** Used nonces and until when they count, in the order of their use. */
  readonly #nonces = new Map<string, number>();
  readonly #listeners: ((refusal: Refusal) => void)[] = [];

  constructor(options: VerifierOptions) {
    this.#options = options;
  }

  /** Adds somebody who is told of every refusal. */
  onRefused(callback: (refusal: Refusal) => void): void {
    this.#listeners.push(callback);
  }

  /** Checks the order that a request carries. @throws COMMAND_REFUSED, UNAVAILABLE when more came than can be remembered */
  verify(message: Msg): Order {
    let claimed: string | undefined;
    try {
      const { text, signature, envelope, jwt } = read(message.headers);
      claimed = printable(envelope.issuer);
      this.#checkSender(message.subject, envelope, jwt, text, signature);
      this.#checkContent(message, envelope);
      this.#useNonce(envelope);
      const { operation, step, direction, epoch, resource, fence } = envelope;
      return { operation, step, direction, epoch, resource, fence };
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      throw this.#refuse(message, claimed, error);
    }
  }

  #checkSender(subject: string, envelope: Envelope, jwt: string, text: Uint8Array, signature: Uint8Array): void {
    const { service } = parseRpcSubject(subject);
    const certificate = this.#certificate(jwt);
    const now = this.#options.clock.now() / 1_000;
    const { exp, nbf, nats, key, name } = certificate;
    if ((exp !== undefined && now > exp) || (nbf !== undefined && now + SKEW_MS / 1_000 < nbf))
      throw new Refused("expired", "The issuer's certificate is not valid at this time.");
    if (!nats.tags?.includes(commandTag(service)))
      throw new Refused("right", `The issuer may not give orders to ${service}.`);
    if (!isSigned(key, text, signature)) throw new Refused("signature", "The envelope's signature is wrong.");
    if (envelope.issuer !== name)
      throw new Refused("issuer", "The envelope names another issuer than its certificate.");
  }

  #checkContent(message: Msg, envelope: Envelope): void {
    const { service, operation } = parseRpcSubject(message.subject);
    if (envelope.node !== this.#options.nodeId) throw new Refused("node", "The order is meant for another node.");
    if (envelope.cmd !== `${service}.${operation}`) throw new Refused("command", "The order is for another command.");
    if (envelope.argsHash !== sha256(message.data))
      throw new Refused("arguments", "The arguments are not those that were signed.");
    const now = this.#options.clock.now();
    const skewMs = Math.round(now - envelope.issuedAt);
    if (skewMs < -SKEW_MS || now > envelope.expiresAt + SKEW_MS)
      throw new Refused("expired", `The order is past its time: it is ${skewMs} ms old by this node's clock.`, {
        skewMs,
      });
  }

  #useNonce({ nonce, expiresAt }: Envelope): void {
    const now = this.#options.clock.now();
    if (this.#nonces.has(nonce)) throw new Refused("replayed", "The order has been given before.");
    if (this.#nonces.size >= MAX_NONCES) {
      for (const [used, until] of this.#nonces) if (until < now) this.#nonces.delete(used);
      if (this.#nonces.size >= MAX_NONCES)
        throw new DvError("UNAVAILABLE", "The node has more orders than it can keep apart; try again.");
    }
    this.#nonces.set(nonce, expiresAt + SKEW_MS);
    this.#forgetOld(now);
  }

  /** Times of expiry differ by the issuers' clocks; the front of the map is old enough as an order, and the rest goes later. */
  #forgetOld(now: number): void {
    for (const [used, until] of this.#nonces) {
      if (until >= now) return;
      this.#nonces.delete(used);
    }
  }

  #certificate(jwt: string): Certificate {
    const hash = sha256(Buffer.from(jwt));
    const known = this.#certificates.get(hash);
    if (known) return known;
    const certificate = readCertificate(jwt, this.#options.signers);
    if (this.#certificates.size >= MAX_CERTIFICATES) {
      const [oldest] = this.#certificates.keys();
      if (oldest !== undefined) this.#certificates.delete(oldest);
    }
    this.#certificates.set(hash, certificate);
    return certificate;
  }

  #refuse(message: Msg, issuer: string | undefined, { reason, details, message: text }: Refused): DvError {
    const { service, operation } = parseRpcSubject(message.subject);
    const requestId = printable(message.headers?.get(HEADER.requestId)) ?? "";
    const refusal: Refusal = { command: `${service}.${operation}`, issuer, cause: reason, requestId };
    this.#options.log.warn({ ...refusal, ...details }, "a command was refused");
    for (const listener of this.#listeners) listener(refusal);
    return new DvError("COMMAND_REFUSED", text, { details: { cause: reason, ...details } });
  }
}

function read(headers: MsgHdrs | undefined): {
  text: Uint8Array;
  signature: Uint8Array;
  envelope: Envelope;
  jwt: string;
} {
  const encoded = headers?.get(HEADER.command);
  const signature = headers?.get(HEADER.commandSignature) ?? "";
  const jwt = headers?.get(HEADER.commandCertificate) ?? "";
  if (!encoded) throw new Refused("missing", "The command carries no envelope.");
  const text = Buffer.from(encoded, "base64url");
  const envelope = Envelope.safeParse(encoded.length > MAX_ENVELOPE ? undefined : jsonOf(text));
  // One text for one meaning: what reads an envelope in another way than this must not find anything else in it.
  const isCanonical = envelope.success && canonicalize(envelope.data) === text.toString();
  if (!isCanonical || !SIGNATURE.test(signature) || jwt.length > MAX_CERTIFICATE)
    throw new Refused("malformed", "The command's envelope cannot be read.");
  if (envelope.data.expiresAt - envelope.data.issuedAt > LIFE_MS)
    throw new Refused("malformed", "The command's envelope lives longer than an order may.");
  return { text, signature: Buffer.from(signature, "base64url"), envelope: envelope.data, jwt };
}

/** Takes a user JWT apart and checks that a trusted key signed it. */
function readCertificate(jwt: string, signers: readonly string[]): Certificate {
  const [header = "", body = "", signature = "", ...rest] = jwt.split(".");
  const { alg } = (jsonOf(Buffer.from(header, "base64url")) ?? {}) as { alg?: unknown };
  const claims = Claims.safeParse(jsonOf(Buffer.from(body, "base64url")));
  if (rest.length > 0 || alg !== "ed25519-nkey" || !claims.success)
    throw new Refused("issuer", "The issuer's certificate is no user JWT.");
  const { iss, sub } = claims.data;
  if (!signers.includes(iss))
    throw new Refused("issuer", "The issuer's certificate is signed by nobody this node trusts.");
  const signed = Buffer.from(`${header}.${body}`);
  if (!isSigned(publicKeyOf(iss), signed, Buffer.from(signature, "base64url")))
    throw new Refused("issuer", "The signature of the issuer's certificate is wrong.");
  try {
    return { ...claims.data, key: publicKeyOf(sub) };
  } catch {
    throw new Refused("issuer", "The issuer's certificate names no key.");
  }
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString());
  } catch {
    return undefined;
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
