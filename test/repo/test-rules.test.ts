// SPDX-License-Identifier: Apache-2.0
/** Tests mock no project file, and none is skipped, focused or left to do in the source (D6.4). */
import { describe, expect, it } from "vitest";
import {
  dottedName,
  isNode,
  parseSource,
  placeOf,
  type SourceFile,
  type SyntaxNode,
  sourceFiles,
  stringValue,
} from "./source-tree.ts";

const TEST_FUNCTION = /^(?:it|test|describe|suite|bench)\.(?:\w+\.)*(?:skip|only|todo)(?:\.\w+)*$/;
const PREFIXED = /^(?:fit|fdescribe|xit|xtest|xdescribe)$/;
const MOCK = /^(?:vi|vitest)\.(?:mock|doMock)$/;

/** `vi.mock` of a relative path or of one of our packages, also in the form `vi.mock(import("./x.ts"))`. */
function mocksProjectFile(node: SyntaxNode): boolean {
  if (node.type !== "CallExpression" || !MOCK.test(dottedName(node["callee"]) ?? "")) return false;
  const [first] = node["arguments"] as readonly unknown[];
  const mocked = isNode(first) && first.type === "ImportExpression" ? first["source"] : first;
  return /^(?:\.|\/|@debvisor\/)/.test(stringValue(mocked) ?? "");
}

function isSkippedOrFocused(node: SyntaxNode): boolean {
  if (node.type === "CallExpression") return PREFIXED.test(dottedName(node["callee"]) ?? "");
  return node.type === "MemberExpression" && TEST_FUNCTION.test(dottedName(node) ?? "");
}

function places(files: readonly SourceFile[], matches: (node: SyntaxNode) => boolean): string[] {
  return [...new Set(files.flatMap((file) => file.nodes.filter(matches).map((node) => placeOf(file, node))))];
}

describe("tests", () => {
  it("mock no file of this project", () => {
    expect(places(sourceFiles(), mocksProjectFile)).toEqual([]);
  });

  it("are not skipped, focused or left to do", () => {
    const tests = sourceFiles().filter((file) => /\.test\.tsx?$/.test(file.path));

    expect(places(tests, isSkippedOrFocused)).toEqual([]);
  });
});

describe("the rules for tests", () => {
  it.each([
    ["it.skip('a', f)", true],
    ["describe.concurrent.only('a', f)", true],
    ["test.todo('a')", true],
    ["it.only.each([1])('a', f)", true],
    ["xit('a', f)", true],
    ["it.skipIf(true)('a', f)", false],
    ["it('a', (context) => context.skip('needs zfs'))", false],
    ["list.skip(3)", false],
    ["// it.skip('a')", false],
  ])("judge %s", (text, expected) => {
    expect(parseSource("a.test.ts", text).nodes.some(isSkippedOrFocused)).toBe(expected);
  });

  it.each([
    ["vi.mock('./a.ts')", true],
    ["vi.mock('@debvisor/shared/bus/bus', () => ({}))", true],
    ["vi.mock(import('../a.ts'))", true],
    ["vi.mock('node:fs')", false],
    ["vi.fn()", false],
  ])("judge %s", (text, expected) => {
    expect(parseSource("a.test.ts", text).nodes.some(mocksProjectFile)).toBe(expected);
  });
});
