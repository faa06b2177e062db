// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from "vitest";
import { holds, parseIfMatch } from "./if-match.ts";

describe("If-Match", () => {
  test.each([
    ["*", { kind: "any" }],
    [" * ", { kind: "any" }],
    ['"a"', { kind: "tags", strong: ["a"], weak: 0 }],
    ['""', { kind: "tags", strong: [""], weak: 0 }],
    ['"a", "b"', { kind: "tags", strong: ["a", "b"], weak: 0 }],
    ['"a","b"', { kind: "tags", strong: ["a", "b"], weak: 0 }],
    ['"a,b"', { kind: "tags", strong: ["a,b"], weak: 0 }],
    ['W/"a", "b"', { kind: "tags", strong: ["b"], weak: 1 }],
  ])("reads %s", (header, expected) => {
    expect(parseIfMatch(header)).toEqual(expected);
  });

  test.each(["", "a", '"a', 'a"', '"a" "b"', 'w/"a"', '"a",', '*, "a"', '"a b"', `${'"a",'.repeat(30)}"a"`])(
    "refuses %s",
    (header) => {
      expect(parseIfMatch(header)).toBeUndefined();
    },
  );

  test("compares strongly: a weak tag matches nothing, not even itself", () => {
    expect(holds({ kind: "tags", strong: [], weak: 1 }, "a")).toBe(false);
    expect(holds({ kind: "tags", strong: ["b", "a"], weak: 0 }, "a")).toBe(true);
    expect(holds({ kind: "any" }, "a")).toBe(true);
  });
});
