// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { witnessCandidates } from "./witness-choice.ts";

const node = (id: string, state = "alive", deleted = false) => ({ id, state, deleted });

test("nodes that live are asked, disabled ones last, never the sealer's own", () => {
  const nodes = [node("c"), node("a"), node("b"), node("d", "lost"), node("e", "alive", true), node("0", "disabled")];

  expect(witnessCandidates(nodes, "b", 0)).toEqual(["a", "c", "0"]);
  expect(witnessCandidates([node("b")], "b", 5)).toEqual([]);
});

test("who is asked first moves on with the trail, and no more than 16 are asked", () => {
  const nodes = Array.from({ length: 40 }, (_, index) => node(String(index).padStart(2, "0")));

  const asked = new Set(Array.from({ length: 40 }, (_, size) => witnessCandidates(nodes, "x", size)[0]));

  expect(asked.size).toBe(40);
  expect(witnessCandidates(nodes, "x", 39)).toHaveLength(16);
});
