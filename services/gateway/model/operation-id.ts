// SPDX-License-Identifier: Apache-2.0
/** The id of a durable operation, made from who asks and under which key. Pure. */
import { createHash } from "node:crypto";

const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
const LENGTH = 13;

/**
 * `op-` and 65 bits of SHA-256 over the caller and its Idempotency-Key: a repeat through any gateway, also after the first
 * one died, names the same operation. Keys hold no line break, so two pairs never make the same text.
 */
export function operationIdOf(principal: string, key: string): string {
  const digest = createHash("sha256").update(`operation\n${principal}\n${key}`).digest();
  let id = "";
  for (let bit = 0; id.length < LENGTH; bit += 5) {
    const pair = digest.readUInt16BE(bit >> 3);
    id += ALPHABET[(pair >> (11 - (bit & 7))) & 31];
  }
  return `op-${id}`;
}
