// SPDX-License-Identifier: Apache-2.0
/**
 * NATS keys (nkeys, ADR-14) whose Ed25519 is node:crypto's. The library's own is JavaScript and derives the key pair anew for every
 * call: 48 ms to issue a credential and 25 ms to sign in, against 0.2 ms and 0.1 ms here.
 */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import type { Authenticator } from "@nats-io/nats-core";
import { fromSeed, type KeyPair } from "@nats-io/nkeys";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/** DER of a PKCS#8 private key up to the 32 bytes of an Ed25519 seed (RFC 8410 §7). */
const PKCS8_ED25519 = Buffer.from("302e020100300506032b657004220420", "hex");
/** DER of an SPKI public key up to the 32 bytes of an Ed25519 point (RFC 8410 §4). */
const SPKI_ED25519 = Buffer.from("302a300506032b6570032100", "hex");
/** Prefix of private keys; they read `P…`. */
const PREFIX_PRIVATE = 15 << 3;

/** The key pair of a seed. @throws NKeysError for a text that is no seed */
export function keyPairOf(seed: string): KeyPair {
  const encoded = new TextEncoder().encode(seed);
  // Checks prefix and checksum; the arithmetic is done below.
  fromSeed(encoded);
  return new NativeKeyPair(encoded, base32Decode(seed));
}

/** What nats-server sends to be signed: random bytes as base64url. */
const NONCE = /^[A-Za-z0-9_-]{0,64}$/;

/**
 * Signs in with the content of a credentials file. The same key signs orders and audit records, so a server that sends the
 * text of one as its nonce would get a valid signature of it; whatever is no nonce is refused. @throws TypeError
 */
export function credentialAuthenticator(creds: string): Authenticator {
  const { jwt, pair } = credentialParts(creds);
  return (nonce = "") => {
    if (!NONCE.test(nonce)) throw new TypeError("the server's nonce is none");
    return {
      jwt,
      nkey: pair.getPublicKey(),
      sig: Buffer.from(pair.sign(new TextEncoder().encode(nonce))).toString("base64"),
    };
  };
}

/** JWT and key pair of a credentials file. @throws TypeError when it holds no JWT and seed */
export function credentialParts(creds: string): { readonly jwt: string; readonly pair: KeyPair } {
  const [, jwt] = /-----BEGIN NATS USER JWT-----\s+(\S+)\s+-+END/.exec(creds) ?? [];
  const [, seed] = /-----BEGIN USER NKEY SEED-----\s+(\S+)\s+-+END/.exec(creds) ?? [];
  if (jwt === undefined || seed === undefined) throw new TypeError("the credential holds no JWT and seed");
  return { jwt, pair: keyPairOf(seed) };
}

/** The key behind a public nkey, whatever its kind. @throws TypeError for a text that is none */
export function publicKeyOf(nkey: string): KeyObject {
  if (!/^[A-Z2-7]{56}$/.test(nkey)) throw new TypeError("not a public nkey");
  const raw = base32Decode(nkey);
  if (crc16(raw.subarray(0, 33)) !== ((raw[33] ?? 0) | ((raw[34] ?? 0) << 8)))
    throw new TypeError("the public nkey is damaged");
  return createPublicKey({
    key: Buffer.concat([SPKI_ED25519, raw.subarray(1, 33)]),
    format: "der",
    type: "spki",
  });
}

/** Whether the Ed25519 signature is that of the key over the bytes. */
export function isSigned(key: KeyObject, bytes: Uint8Array, signature: Uint8Array): boolean {
  return signature.length === 64 && verify(null, bytes, key, signature);
}

class NativeKeyPair implements KeyPair {
  readonly #seed: Uint8Array;
  readonly #key: KeyObject;
  readonly #public: KeyObject;
  readonly #publicText: string;
  readonly #private: Uint8Array;

  /** `raw`: two bytes of prefix, 32 of seed, two of checksum. */
  constructor(seed: Uint8Array, raw: Uint8Array) {
    this.#seed = seed;
    this.#key = createPrivateKey({
      key: Buffer.concat([PKCS8_ED25519, raw.subarray(2, 34)]),
      format: "der",
      type: "pkcs8",
    });
    this.#public = createPublicKey(this.#key);
    const role = (((raw[0] ?? 0) & 7) << 5) | ((raw[1] ?? 0) >> 3);
    const { x } = this.#public.export({ format: "jwk" });
    const publicBytes = Buffer.from(x ?? "", "base64url");
    this.#publicText = encode(role, publicBytes);
    this.#private = new TextEncoder().encode(encode(PREFIX_PRIVATE, Buffer.concat([raw.subarray(2, 34), publicBytes])));
  }

  getPublicKey(): string {
    return this.#publicText;
  }

  getSeed(): Uint8Array {
    return this.#seed;
  }

  getPrivateKey(): Uint8Array {
    return this.#private;
  }

  sign(input: Uint8Array): Uint8Array {
    return sign(null, input, this.#key);
  }

  verify(input: Uint8Array, signature: Uint8Array): boolean {
    return verify(null, input, this.#public, signature);
  }

  clear(): void {
    this.#seed.fill(0);
    this.#private.fill(0);
  }

  seal(): Uint8Array {
    throw new TypeError("an Ed25519 key signs; it does not encrypt");
  }

  open(): Uint8Array | null {
    throw new TypeError("an Ed25519 key signs; it does not decrypt");
  }
}

/** A prefix, the bytes, and their checksum with the low byte first. */
function encode(prefix: number, bytes: Uint8Array): string {
  const body = Buffer.concat([Buffer.from([prefix]), bytes]);
  const checksum = crc16(body);
  return base32Encode(Buffer.concat([body, Buffer.from([checksum & 0xff, checksum >> 8])]));
}

/** CRC-16/XMODEM: polynomial 0x1021, start 0. */
function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc;
}

/** RFC 4648 base32 without padding. */
function base32Encode(bytes: Uint8Array): string {
  let text = "";
  let value = 0;
  let bits = 0;
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xffff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += ALPHABET[(value >> bits) & 31];
    }
  }
  return bits > 0 ? `${text}${ALPHABET[(value << (5 - bits)) & 31]}` : text;
}

function base32Decode(text: string): Uint8Array {
  const bytes: number[] = [];
  let value = 0;
  let bits = 0;
  for (const letter of text) {
    value = ((value << 5) | ALPHABET.indexOf(letter)) & 0xfff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((value >> bits) & 0xff);
    }
  }
  return Uint8Array.from(bytes);
}
