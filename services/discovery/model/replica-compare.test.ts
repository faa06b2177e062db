// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { compareReadings, differs } from "./replica-compare.ts";

const none = { damaged: [], unclear: false };

test("replicas that have the same do not differ, nor do three that have nothing where nothing has to be", () => {
  expect(differs(["x", "x", "x"], true)).toBe(false);
  expect(differs([undefined, undefined, undefined], false)).toBe(false);
  expect(differs([undefined, undefined, undefined], true)).toBe(true);
});

test("a message that one lacks or has otherwise, twice, is damaged there", () => {
  expect(compareReadings(["x", undefined, "x"], ["x", undefined, "x"], true)).toEqual({ damaged: [1], unclear: false });
  expect(compareReadings(["x", "x", "y"], ["x", "x", "y"], false)).toEqual({ damaged: [2], unclear: false });
});

test("a key that was overwritten between two replicas, or that one had at the second try, is no damage", () => {
  expect(compareReadings(["x", "x", undefined], [undefined, undefined, undefined], false)).toEqual(none);
  expect(compareReadings(["x", undefined, "x"], ["x", "x", "x"], true)).toEqual(none);
  expect(compareReadings(["x", undefined, "x"], [undefined, "x", "x"], false)).toEqual(none);
});

test("nobody is right without two that agree", () => {
  expect(compareReadings(["x", undefined, undefined], ["x", undefined, undefined], true)).toEqual({
    damaged: [],
    unclear: true,
  });
  expect(compareReadings(["x", "y", "z"], ["x", "y", "z"], true)).toEqual({ damaged: [], unclear: true });
  expect(compareReadings([undefined], [undefined], true)).toEqual({ damaged: [], unclear: true });
});
