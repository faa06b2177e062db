// SPDX-License-Identifier: Apache-2.0
/** Selections: what they select, and that nothing is selected by mistake. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseSelection, type SelectableNode, selectNodes } from "./node-selection.ts";

const node = (name: string, more: Partial<SelectableNode> = {}): SelectableNode => ({
  id: `id-${name}`,
  name,
  state: "alive",
  roles: ["worker"],
  version: "1.0.0",
  rack: null,
  zone: null,
  ...more,
});
const nodes = [
  node("a", { roles: ["server", "worker"], rack: "r1" }),
  node("b", { state: "lost", rack: "r1" }),
  node("c", { rack: "r2" }),
];

function select(text: string): string[] | string {
  const selection = parseSelection(text);
  if (selection.kind === "fault") return "fault";
  const { nodes: chosen, unknown } = selectNodes(selection, nodes);
  return unknown.length > 0 ? `unknown ${unknown.join()}` : chosen.map(({ name }) => name);
}

describe("a selection", () => {
  it.each([
    ["all", ["a", "b", "c"]],
    [" all ", ["a", "b", "c"]],
    ["c,a", ["a", "c"]],
    ["id-b,b", ["b"]],
    ["role=server", ["a"]],
    ["roles=worker,rack=r1", ["a", "b"]],
    ["state!=alive", ["b"]],
    ["rack=", []],
    ["version~1.0", ["a", "b", "c"]],
    ["a,zz", "unknown zz"],
    ["", "fault"],
    [" , ", "fault"],
    ["all,a", "fault"],
    ["a,role=server", "fault"],
    ["colour=red", "fault"],
    ["*", "fault"],
    ["a>b", "fault"],
  ])("%j gives %j", (text, expected) => {
    expect(select(text)).toEqual(expected);
  });

  it("never selects everything unless that was said or every node fits", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 40 }), (text) => {
        const chosen = select(text);
        const filter = /[=~]/.test(text);
        if (Array.isArray(chosen) && chosen.length === nodes.length)
          expect(filter || text.trim().replaceAll(/[\s,]/g, "") === "all" || text.includes(",")).toBe(true);
      }),
    );
  });
});
