// SPDX-License-Identifier: Apache-2.0
import { createHash } from "node:crypto";
import { wordlist } from "@scure/bip39/wordlists/english.js";
import { expect, test } from "vitest";
import { commitmentTo, isCommittedTo, normaliseWords, wordsOf } from "./words.ts";

const bytes = (value: number) => Buffer.alloc(32, value);
const numbers = { joiner: bytes(2), responder: bytes(3) };

test("the words are the first 66 bits of a hash over transcript and both numbers", () => {
  const parts = [Buffer.from("dvj/1 words\0"), bytes(1), bytes(2), bytes(3)];
  const digest = createHash("sha256").update(Buffer.concat(parts)).digest();
  const bits = [...digest].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  const expected = [0, 11, 22, 33, 44, 55].map((at) => wordlist[Number.parseInt(bits.slice(at, at + 11), 2)]);

  expect(wordsOf(bytes(1), numbers)).toBe(expected.join(" "));
});

test("other parts make other words", () => {
  const all = [
    wordsOf(bytes(1), numbers),
    wordsOf(bytes(0), numbers),
    wordsOf(bytes(1), { ...numbers, joiner: bytes(0) }),
    wordsOf(bytes(1), { ...numbers, responder: bytes(0) }),
    wordsOf(bytes(1), { joiner: numbers.responder, responder: numbers.joiner }),
  ];

  expect(new Set(all).size).toBe(all.length);
});

test("the list has 2048 different words that can be typed", () => {
  expect(new Set(wordlist).size).toBe(2048);
  expect(wordlist.filter((word) => !/^[a-z]{3,8}$/.test(word))).toEqual([]);
});

test("a commitment fits its number and salt and no other", () => {
  const commitment = commitmentTo(bytes(1), bytes(2));

  expect(isCommittedTo(commitment, bytes(1), bytes(2))).toBe(true);
  expect(isCommittedTo(commitment, bytes(2), bytes(1))).toBe(false);
  expect(isCommittedTo(commitment, bytes(3), bytes(2))).toBe(false);
  expect(isCommittedTo(commitment, bytes(1), bytes(3))).toBe(false);
});

test("how words are typed does not count", () => {
  expect(normaliseWords("  Ocean lamp-QUIET,\n tiger  maple violin ")).toBe("ocean lamp quiet tiger maple violin");
});
