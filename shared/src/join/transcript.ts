// SPDX-License-Identifier: Apache-2.0
/**
 * What a proof of the join protocol `dvj/1` is over (RULES.md 2): everything that both sides have seen and said, under one hash.
 * The exporter binds it to this one TLS session, so a proof that is relayed, replayed or reflected is worth nothing.
 */
import { createHash, createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { canonicalJson } from "../audit/canonical.ts";

const PROTOCOL = "dvj/1";
const HASH_BYTES = 32;

/** Kinds of proof, as they are called on the wire. */
export type ProofMode = "secret" | "code" | "words" | "member";
/** Who of the two proves something. */
export type ProofRole = "joiner" | "responder";

/** Everything that goes into a transcript. */
export interface TranscriptParts {
  /** Hashes of the public keys (SPKI) by which the two sides hold the TLS session, hexadecimal. */
  readonly spki: Readonly<Record<ProofRole, string>>;
  /** 32 bytes that only these two ends of this TLS session have (RFC 8446 7.5). */
  readonly exporter: Uint8Array;
  /** 32 random bytes of each side. */
  readonly nonces: Readonly<Record<ProofRole, Uint8Array>>;
  readonly versions: Readonly<Record<ProofRole, readonly number[]>>;
  /** Kinds of proof that the joiner offered, in its order. */
  readonly modes: readonly string[];
  readonly chosen: { readonly version: number; readonly mode: string };
  readonly cluster: string;
  /** What the joiner told of itself. */
  readonly facts: unknown;
}

/** SHA-256 over every part with its length before it, so that no two different sets of parts read alike; 32 bytes. */
export function transcriptOf(parts: TranscriptParts): Buffer {
  const hash = createHash("sha256");
  const add = (value: Uint8Array | string) => {
    const bytes = Buffer.from(value);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    hash.update(length).update(bytes);
  };
  const addList = (list: readonly (string | number)[]) => {
    add(String(list.length));
    for (const item of list) add(String(item));
  };
  add(PROTOCOL);
  add(Buffer.from(parts.spki.joiner, "hex"));
  add(Buffer.from(parts.spki.responder, "hex"));
  add(parts.exporter);
  add(parts.nonces.joiner);
  add(parts.nonces.responder);
  addList(parts.versions.joiner);
  addList(parts.versions.responder);
  addList(parts.modes);
  add(String(parts.chosen.version));
  add(parts.chosen.mode);
  add(parts.cluster);
  add(createHash("sha256").update(canonicalJson(parts.facts)).digest());
  return hash.digest();
}

/**
 * Key of the proofs (HKDF-SHA-256, 32 bytes) from what both sides hold: the cluster secret, or the key of a CPace run. The kind is
 * part of it, so that a proof of one kind is never one of the other.
 */
export function proofKey(mode: "secret" | "code", material: Uint8Array, cluster: string): Buffer {
  return Buffer.from(hkdfSync("sha256", material, cluster, `dvj1 mac ${mode}`, HASH_BYTES));
}

/** The proof of one side: HMAC-SHA-256 over its role and the transcript; 32 bytes. */
export function proofOf(key: Uint8Array, role: ProofRole, transcript: Uint8Array): Buffer {
  return createHmac("sha256", key).update(`${PROTOCOL} ${role}`).update("\0").update(transcript).digest();
}

/** Whether what was given is the proof of that side; takes the same time wherever they differ. */
export function isProof(key: Uint8Array, role: ProofRole, transcript: Uint8Array, given: Uint8Array): boolean {
  return given.length === HASH_BYTES && timingSafeEqual(proofOf(key, role, transcript), given);
}
