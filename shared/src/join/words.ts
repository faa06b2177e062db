// SPDX-License-Identifier: Apache-2.0
/**
 * Six words that two people compare, or one who sees both screens (RULES.md part 5, A2). They are drawn from the transcript and from one
 * number of each side. The responder is bound to its number before it hears the joiner's, and tells it only afterwards: whoever sits in
 * between has one chance in 2^66 that both screens show the same, and nothing to compute for a better one.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { wordlist } from "@scure/bip39/wordlists/english.js";

/** Eleven bits each: the list has 2048. */
const WORDS = 6;
const WORD_BITS = 11;

/** What the responder shows of its number before it hears the joiner's. All have 32 bytes. */
export function commitmentTo(nonce: Uint8Array, salt: Uint8Array): Buffer {
  return createHash("sha256").update("dvj/1 commitment\0").update(salt).update(nonce).digest();
}

/** Whether a number is the one that was committed to. */
export function isCommittedTo(commitment: Uint8Array, nonce: Uint8Array, salt: Uint8Array): boolean {
  return timingSafeEqual(commitmentTo(nonce, salt), commitment);
}

/** The words of a session, one space between them. Transcript and numbers have 32 bytes each. */
export function wordsOf(
  transcript: Uint8Array,
  numbers: { readonly joiner: Uint8Array; readonly responder: Uint8Array },
): string {
  const hash = createHash("sha256").update("dvj/1 words\0").update(transcript);
  const digest = hash.update(numbers.joiner).update(numbers.responder).digest("hex");
  const bits = BigInt(`0x${digest}`) >> BigInt(256 - WORDS * WORD_BITS);
  return Array.from({ length: WORDS }, (_, at) => {
    const index = Number((bits >> BigInt((WORDS - 1 - at) * WORD_BITS)) & 0x7ffn);
    return wordlist[index];
  }).join(" ");
}

/** Words as they were typed: capitals, and what stands between them, do not count. */
export function normaliseWords(text: string): string {
  return text
    .toLowerCase()
    .split(/[^a-z]+/)
    .filter((word) => word !== "")
    .join(" ");
}
