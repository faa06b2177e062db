// SPDX-License-Identifier: Apache-2.0
/** The table of threats names tests that exist and run; a threat without one is said to be open (RULES.md part 5). */
import { describe, expect, it } from "vitest";
import { dottedName, parseSource, readText, repositoryFiles, type SourceFile, stringValue } from "./source-tree.ts";

const PAGE = "docs/threats.md";
/** The threats that forming a cluster has to withstand. */
const THREATS = [
  "rogue mDNS advertiser",
  "flood of records or connections",
  "replay",
  "man in the middle, relay",
  "downgrade",
  "offline guess",
  "reflection",
  "two halves form two clusters",
  "clock skew at first boot",
  "stolen preseed",
  "cloned disk",
];
const LINK = /\[[^\]]+\]\(\.\.\/([^)]+)\): ((?:"[^"]+"(?:; )?)+)/g;

interface Row {
  readonly threat: string;
  readonly proof: string;
}

/** Rows of the table; one without a threat belongs to the one above. */
function rowsOf(page: string): Row[] {
  const lines = page.split("\n").filter((line) => line.startsWith("| ") && !/^\| (?:Threat|---)/.test(line));
  let threat = "";
  return lines.map((line) => {
    const cells = line.split(" | ").map((cell) => cell.replace(/^\| ?| ?\|$/g, "").trim());
    threat = cells[0] || threat;
    return { threat, proof: cells.at(-1) ?? "" };
  });
}

/** Tests that a proof names, as file and title. */
function namedIn(proof: string): { file: string; title: string }[] {
  return [...proof.matchAll(LINK)].flatMap(([, file = "", titles = ""]) =>
    [...titles.matchAll(/"([^"]+)"/g)].map(([, title = ""]) => ({ file, title })),
  );
}

/** Titles of the tests of a file that are not left out by hand. */
function titlesOf({ nodes }: SourceFile): string[] {
  return nodes.flatMap(({ type, callee, arguments: args }) => {
    if (type !== "CallExpression") return [];
    const [kind, ...how] = (dottedName(callee) ?? "").split(".");
    if ((kind !== "test" && kind !== "it") || how.includes("skip") || how.includes("todo")) return [];
    const title = stringValue((args as readonly unknown[])[0]);
    return title === undefined ? [] : [title];
  });
}

/** What is wrong with the rows. */
function faultsOf(rows: readonly Row[], titles: (file: string) => readonly string[] | undefined): string[] {
  return rows.flatMap(({ threat, proof }) => {
    if (/^open: ./.test(proof)) return [];
    const named = namedIn(proof);
    if (named.length === 0) return [`${threat}: "${proof}" names no test and is not said to be open`];
    return named
      .filter(({ file, title }) => !titles(file)?.includes(title))
      .map(({ file, title }) => `${threat}: ${file} has no test "${title}"`);
  });
}

describe("the table of threats", () => {
  it("has every threat, and names tests that exist", () => {
    const rows = rowsOf(readText(PAGE));
    const files = new Set(repositoryFiles());
    const titles = (file: string) => (files.has(file) ? titlesOf(parseSource(file, readText(file))) : undefined);

    expect([...new Set(rows.map(({ threat }) => threat))]).toEqual(THREATS);
    expect(rows.length).toBeGreaterThan(THREATS.length);
    expect(faultsOf(rows, titles)).toEqual([]);
  });
});

describe("the rule for the table of threats", () => {
  const source = parseSource(
    "a.test.ts",
    `test("one", f); test.skip("two", f); it.each([])("three %s", f); no("four", f);`,
  );

  it("knows which tests run", () => {
    expect(titlesOf(source)).toEqual(["one", "three %s"]);
  });

  it.each([
    ["a test that exists", '[a](../a.test.ts): "one"; "three %s"', 0],
    ["a test that is left out", '[a](../a.test.ts): "one"; "two"', 1],
    ["a file that is missing", '[b](../b.test.ts): "one"', 1],
    ["what is said to be open", "open: not built", 0],
    ["nothing", "", 1],
  ])("judges %s", (_what, proof, faults) => {
    const titles = (file: string) => (file === "a.test.ts" ? titlesOf(source) : undefined);
    expect(faultsOf([{ threat: "x", proof }], titles)).toHaveLength(faults);
  });
});
