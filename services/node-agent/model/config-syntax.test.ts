// SPDX-License-Identifier: Apache-2.0
/** Places of faults, and agreement with JSON.parse. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { iniFault, jsonFault, keyBefore, lineAt } from "./config-syntax.ts";

test("accepts what systemd and git write as ini", () => {
  const text =
    '; comment\n# another\n[remote "origin"] # why\nurl = x\nkey: value\nExecStart=a \\\n  b without equals\n\n';

  expect(iniFault(text)).toBeUndefined();
});

test.each([
  ["a line that is no assignment", "[a]\nx=1\nnonsense\n", { line: 3, key: "x" }],
  ["a section that is not closed", "[a\n", { line: 1, key: undefined }],
  ["an assignment without a key", "[a]\n= 1", { line: 2, key: "a" }],
])("finds in an ini text: %s", (_title, text, place) => {
  expect(iniFault(text)).toMatchObject(place);
});

test.each([
  ["a comma too much", '{\n "a": 1,\n}', { line: 3, key: "a" }],
  ["a missing comma", '{"a": 1\n "b": 2}', { line: 2, key: "a" }],
  ["a missing colon", '{"a" 1}', { line: 1, key: undefined }],
  ["single quotes", "{\n'a': 1}", { line: 2, key: undefined }],
  ["a text that ends early", '{\n "a": [1,\n', { line: 2, key: "a" }],
  ["an empty text", "", { line: 1, key: undefined }],
  ["words after the end", "1\ntwo", { line: 2, key: undefined }],
  ["a wrong bracket", "[1}", { line: 1 }],
  ["a second closing bracket", "{}}", { line: 1 }],
  ["a bracket instead of a key", "{[]}", { line: 1 }],
  ["a colon in a list", "[1:2]", { line: 1 }],
  ["a comma at the start of a list", "[,1]", { line: 1 }],
  ["a closing bracket instead of a value", '{"a":}', { line: 1, key: "a" }],
])("finds in a JSON text: %s", (_title, text, place) => {
  expect(jsonFault(text)).toMatchObject(place);
});

test("finds a fault exactly when JSON.parse does", () => {
  const isValid = (text: string) => {
    try {
      JSON.parse(text);
      return true;
    } catch {
      return false;
    }
  };
  const pieces = fc
    .array(
      fc.constantFrom(
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"a"',
        "1",
        "-0.5e3",
        "01",
        "true",
        "nul",
        " ",
        "\n",
        '"\\u00e9"',
        '"\\x"',
      ),
      { maxLength: 9 },
    )
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(fc.oneof(pieces, fc.json(), fc.string({ unit: "binary" })), (text) => {
      expect(jsonFault(text) === undefined).toBe(isValid(text));
    }),
    { numRuns: 1_000 },
  );
});

test("names the key before a place, quoted or not", () => {
  expect(keyBefore("a: 1\n  - inner-key: [", 20)).toBe("inner-key");
  expect(keyBefore('{"x y": 1, "z": 2', 17)).toBe("z");
  expect(keyBefore("nothing", 3)).toBeUndefined();
  expect(lineAt("a\nb\nc", 4)).toBe(3);
  expect(lineAt("a", -5)).toBe(1);
});

test("accepts any ini text", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => void iniFault(text)));
});
