// SPDX-License-Identifier: Apache-2.0
/**
 * The messages by which the two ends of the join protocol prove themselves, and what both sides need for it. The joiner offers one
 * kind of proof and the responder takes that one or refuses; neither ever tries a weaker one (RULES.md 4).
 *
 *   secret   hello, welcome + responder's proof, joiner's proof, accepted
 *   code     hello + share, welcome + share, joiner's proof, accepted + responder's proof
 *   words    hello, welcome + commitment, joiner's number, responder's number: both show six words, and people compare
 *   member   hello, welcome: the keys of the TLS session are pinned on both sides
 *
 * With a code the joiner goes first: a responder that went first would hand a guess at the code to whoever asks, and nobody would
 * count it. With the secret the responder goes first, since 256 bits cannot be guessed, and the joiner tells a stranger nothing.
 */
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { DvError } from "../errors.ts";
import type { CpaceOptions } from "./cpace.ts";
import type { Session } from "./session.ts";
import { type ProofRole, type TranscriptParts, transcriptOf } from "./transcript.ts";

/** Versions of the protocol that this release speaks, `dvj/<n>`. */
export const VERSIONS: readonly number[] = [1];
/** A generated secret has 256 bits (RULES.md 3). */
const SECRET_BYTES = 32;
/** 32 random bytes have 30 different values on average and fewer than 16 once in 10^18; what is typed or repeated has fewer. */
const DISTINCT_BYTES = 16;
const NONCE_BYTES = 32;

const Versions = z.array(z.number().int().min(1).max(65_535)).min(1).max(16);
const Bytes32 = z
  .base64()
  .length(44)
  .transform((text): Buffer => Buffer.from(text, "base64"))
  .refine((bytes) => bytes.length === NONCE_BYTES);
const Mode = z.string().regex(/^[a-z]{1,16}$/);

/** What a joiner tells of itself: a flat list, so that nobody has to judge how deep it is. */
export const JoinFacts = z.record(
  z.string().min(1).max(64),
  z.union([z.string().max(512), z.number(), z.boolean(), z.null()]),
);
export type JoinFacts = z.output<typeof JoinFacts>;

/** The part of a hello that every version has. */
export const AnyHello = z.object({ type: z.literal("hello"), versions: Versions });
export const Hello = z.strictObject({
  type: z.literal("hello"),
  versions: Versions,
  modes: z.array(Mode).min(1).max(8),
  nonce: Bytes32,
  facts: JoinFacts,
  /** Of a CPace run; with mode `code` only. */
  share: Bytes32.optional(),
});
export type Hello = z.output<typeof Hello>;

export const Welcome = z.strictObject({
  type: z.literal("welcome"),
  versions: Versions,
  version: z.number().int(),
  mode: Mode,
  nonce: Bytes32,
  cluster: z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/),
  share: Bytes32.optional(),
  proof: Bytes32.optional(),
  /** To the responder's number; with mode `words` only. */
  commitment: Bytes32.optional(),
});
export type Welcome = z.output<typeof Welcome>;

export const Proof = z.strictObject({ type: z.literal("proof"), proof: Bytes32 });
export const Accepted = z.strictObject({ type: z.literal("accepted"), proof: Bytes32.optional() });
/** The joiner's number for the words, once the responder is bound to its own; then the responder's, with what opens its commitment. */
export const JoinerNumber = z.strictObject({ type: z.literal("number"), number: Bytes32 });
export const ResponderNumber = z.strictObject({ type: z.literal("number"), number: Bytes32, salt: Bytes32 });

/** Why a responder refuses. It comes from somebody unproved: it ends the attempt and decides nothing else. */
export const Refused = z.strictObject({
  type: z.literal("refused"),
  code: z.enum(["JOIN_PROOF_FAILED", "JOIN_VERSION", "JOIN_MODE_REFUSED"]),
  versions: Versions,
});
export type Refused = z.output<typeof Refused>;

/** A fresh nonce. */
export function newNonce(): Buffer {
  return randomBytes(NONCE_BYTES);
}

/** How bytes travel in a frame. */
export function toText(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

/** The version that two lists have in common, the highest of several; undefined when there is none. */
export function commonVersion(own: readonly number[], other: readonly number[]): number | undefined {
  const common = own.filter((version) => other.includes(version));
  return common.length > 0 ? Math.max(...common) : undefined;
}

/** @throws INVALID_ARGUMENT for a secret that was not generated: short, typed or a sample */
export function checkSecret(secret: Uint8Array): void {
  if (secret.length < SECRET_BYTES || new Set(secret).size < DISTINCT_BYTES)
    throw new DvError("INVALID_ARGUMENT", `A cluster secret is ${SECRET_BYTES} random bytes; this one can be guessed.`);
}

/** A run of CPace for this session. People type codes with spaces, dashes and capitals as they like. */
export function cpaceOptions(session: Session, role: ProofRole, code: string): CpaceOptions {
  const [joiner, responder] = spkiByRole(session, role);
  return {
    role: role === "joiner" ? "initiator" : "responder",
    code: new TextEncoder().encode(normaliseCode(code)),
    channel: new TextEncoder().encode(`dvj/1 ${joiner} ${responder}`),
    session: session.exporter,
    data: new Uint8Array(),
  };
}

/** A code without what does not count: white space, dashes, the difference of capitals. */
export function normaliseCode(code: string): string {
  return code
    .normalize("NFKC")
    .replaceAll(/[\s\p{Pd}]/gu, "")
    .toLowerCase();
}

/** The transcript of a session as seen by the side of this role. */
export function transcriptOfSession(session: Session, role: ProofRole, hello: Hello, welcome: WelcomeFacts): Buffer {
  const [joiner, responder] = spkiByRole(session, role);
  const parts: TranscriptParts = {
    spki: { joiner, responder },
    exporter: session.exporter,
    nonces: { joiner: hello.nonce, responder: welcome.nonce },
    versions: { joiner: hello.versions, responder: welcome.versions },
    modes: hello.modes,
    chosen: { version: welcome.version, mode: welcome.mode },
    cluster: welcome.cluster,
    facts: hello.facts,
  };
  return transcriptOf(parts);
}

/** The part of a welcome that is in the transcript. */
export type WelcomeFacts = Omit<Welcome, "type" | "share" | "proof" | "commitment">;

function spkiByRole({ own, peer }: Session, role: ProofRole): readonly [joiner: string, responder: string] {
  return role === "joiner" ? [own, peer.spki] : [peer.spki, own];
}
