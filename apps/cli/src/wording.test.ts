// SPDX-License-Identifier: Apache-2.0
/** Words about what was typed. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { z } from "zod";
import { issueText, nearest } from "./wording.ts";

test.each([
  [z.number().min(1), -3, "must be at least 1"],
  [z.number().max(9), 10, "must be at most 9"],
  [z.string().min(1), "", "must not be empty"],
  [z.string().max(2), "abc", "must be at most 2 characters"],
  [z.number(), "x", "must be a number"],
  [z.enum(["a", "b"]), "c", "must be one of a, b"],
])("says what a value has to be (%#)", (schema, value, expected) => {
  const values = schema instanceof z.ZodEnum ? schema.options.map(String) : undefined;

  expect(issueText(schema.safeParse(value).error?.issues[0], { values })).toBe(expected);
});

test.each([
  ["nodse", "nodes"],
  ["stat", "status"],
  ["hsow", "show"],
  ["lsit", "list"],
  ["xyzzy", undefined],
  ["n", undefined],
])("guesses what %s was meant to be", (word, meant) => {
  const known = ["services", "nodes", "status", "show", "list", "stop"];

  expect(nearest(word, known)).toBe(meant === undefined ? "" : `, did you mean ${meant}?`);
});

test("finds a word with one typing error among words that are far from each other", () => {
  const known = ["capabilities", "completion", "discover", "metrics"];
  fc.assert(
    fc.property(fc.constantFrom(...known), fc.nat(20), fc.constantFrom(..."abcxyz"), (word, at, letter) => {
      const place = at % word.length;

      expect(nearest(`${word.slice(0, place)}${letter}${word.slice(place + 1)}`, known)).toContain(word);
      expect(nearest(`${word.slice(0, place)}${word.slice(place + 1)}`, known)).toContain(word);
    }),
  );
});
