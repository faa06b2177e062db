// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { ChainWatch } from "./chain-watch.ts";

const link = (n: number, prev: string | null, leaf = `leaf-${n}`, emitter = "a") => ({ emitter, n, prev, leaf });

test("chains of several emitters that run through one another are whole", () => {
  const watch = new ChainWatch();

  const faults = [
    link(1, null),
    link(1, null, "b-1", "b"),
    link(2, "leaf-1"),
    link(2, "b-1", "b-2", "b"),
    link(3, "leaf-2"),
  ].map((one) => watch.take(one));

  expect(faults).toEqual([undefined, undefined, undefined, undefined, undefined]);
});

test.for([
  ["a record that is missing", [link(1, null), link(3, "leaf-2")]],
  ["a record that comes twice", [link(1, null), link(1, null)]],
  ["two records that were exchanged", [link(1, null), link(3, "leaf-2"), link(2, "leaf-1")]],
  ["another record before it", [link(1, null), link(2, "leaf-x")]],
  ["a beginning that is missing", [link(2, "leaf-1")]],
  ["a beginning with something before it", [link(1, "leaf-0")]],
] as const)("%s breaks the chain", ([, links]) => {
  const watch = new ChainWatch();

  expect(links.map((one) => watch.take(one)).some((fault) => fault !== undefined)).toBe(true);
});

test("an emitter that begins anew breaks nothing", () => {
  const watch = new ChainWatch();

  const faults = [link(1, null), link(2, "leaf-1"), link(1, null, "new-1"), link(2, "new-1")].map((one) =>
    watch.take(one),
  );

  expect(faults).toEqual([undefined, undefined, undefined, undefined]);
});

test("one break is said once; the chain goes on from there", () => {
  const watch = new ChainWatch();

  const faults = [link(1, null), link(5, "leaf-4"), link(6, "leaf-5")].map((one) => watch.take(one) !== undefined);

  expect(faults).toEqual([false, true, false]);
});
