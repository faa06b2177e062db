// SPDX-License-Identifier: Apache-2.0
/**
 * CPace over ristretto255 with SHA-512 (draft-irtf-cfrg-cpace-21, cipher suite of 8.3): two machines that were told the same short
 * code agree on a strong key, and whoever listens or takes part without the code learns nothing that it could try codes on. One run
 * is one guess. The key proves nothing yet: both sides have to show each other that they have it before anything else is believed.
 */
import { createHash, randomBytes } from "node:crypto";
import { ristretto255, ristretto255_hasher } from "@noble/curves/ed25519.js";

const DOMAIN = "CPaceRistretto255";
/** Input block size of SHA-512. */
const BLOCK_BYTES = 128;
/** Bytes of an encoded element and of a scalar. */
const ELEMENT_BYTES = 32;

const { Point } = ristretto255;
type Element = InstanceType<typeof Point>;

/** What both sides have to agree upon, and what one side adds. */
export interface CpaceOptions {
  /** The initiator's share comes first in what the key is derived from. */
  readonly role: "initiator" | "responder";
  /** What both were told (PRS). */
  readonly code: Uint8Array;
  /** Who talks to whom (CI); equal on both sides. */
  readonly channel: Uint8Array;
  /** Unique for this run (sid); equal on both sides. */
  readonly session: Uint8Array;
  /** What this side adds and the other one learns (ADa, ADb). */
  readonly data: Uint8Array;
  /** Secret number of this run, 32 bytes little-endian, 1 to order - 1; only for the published vectors. Default: random. */
  readonly scalar?: Uint8Array;
}

/** What one side sends. */
export interface CpaceMessage {
  /** An encoded element, 32 bytes. */
  readonly share: Uint8Array;
  readonly data: Uint8Array;
}

/** One side of one run. */
export interface CpaceRun {
  readonly message: CpaceMessage;
  /**
   * The shared key (ISK), 64 bytes; undefined when the other side's share is no element of the group or the neutral one, in which
   * case the run is over. A run ends once. @throws TypeError when it has ended
   */
  finish(other: CpaceMessage): Uint8Array | undefined;
}

/** Begins a run. @throws RangeError for a scalar out of range */
export function startCpace({ role, code, channel, session, data, scalar }: CpaceOptions): CpaceRun {
  let secret: bigint | undefined = scalar ? checkedScalar(scalar) : randomScalar();
  const share = generatorOf(code, channel, session).multiply(secret).toBytes();
  const message = { share, data };
  return {
    message,
    finish: (other) => {
      if (secret === undefined) throw new TypeError("this run has ended");
      const key = sharedElement(other.share, secret);
      secret = undefined;
      if (!key) return undefined;
      const [first, second] = role === "initiator" ? [message, other] : [other, message];
      return sha512(
        lengthsAndValues(text(`${DOMAIN}_ISK`), session, key),
        lengthsAndValues(first.share, first.data, second.share, second.data),
      );
    },
  };
}

/** The string that the generator is derived from (8.1): code and padding fill the first block of the hash. */
export function generatorString(code: Uint8Array, channel: Uint8Array, session: Uint8Array): Uint8Array {
  const domain = text(DOMAIN);
  const padding = BLOCK_BYTES - withLength(code).length - withLength(domain).length - 1;
  return lengthsAndValues(domain, code, new Uint8Array(Math.max(0, padding)), channel, session);
}

function generatorOf(code: Uint8Array, channel: Uint8Array, session: Uint8Array): Element {
  const derive = ristretto255_hasher.deriveToCurve;
  if (!derive) throw new TypeError("the library derives no element of ristretto255");
  return derive(sha512(generatorString(code, channel, session)));
}

/** `secret` times the other side's element, encoded; undefined when that is the neutral element or no element at all. */
function sharedElement(share: Uint8Array, secret: bigint): Uint8Array | undefined {
  if (share.length !== ELEMENT_BYTES) return undefined;
  let element: Element;
  try {
    element = Point.fromBytes(share);
  } catch {
    return undefined;
  }
  // Of prime order: only the neutral element itself leads to it.
  return element.is0() ? undefined : element.multiply(secret).toBytes();
}

function randomScalar(): bigint {
  for (;;) {
    const bytes = randomBytes(ELEMENT_BYTES);
    // 253 bits, of which about half are below the order.
    bytes[ELEMENT_BYTES - 1] = (bytes[ELEMENT_BYTES - 1] ?? 0) & 0x1f;
    const scalar = littleEndian(bytes);
    if (scalar > 0n && scalar < Point.Fn.ORDER) return scalar;
  }
}

function checkedScalar(bytes: Uint8Array): bigint {
  const scalar = littleEndian(bytes);
  if (bytes.length !== ELEMENT_BYTES || scalar <= 0n || scalar >= Point.Fn.ORDER)
    throw new RangeError("a scalar has 32 bytes and is from 1 to the order of the group less 1");
  return scalar;
}

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x0${Buffer.from(bytes).reverse().toString("hex")}`);
}

function sha512(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash("sha512");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** lv_cat: every value with its length before it. */
function lengthsAndValues(...values: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(values.map(withLength));
}

/** prepend_len: the length as LEB128, then the value. */
function withLength(value: Uint8Array): Uint8Array {
  const length: number[] = [];
  let rest = value.length;
  do {
    length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return Buffer.concat([Uint8Array.from(length), value]);
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}
