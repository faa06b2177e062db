// SPDX-License-Identifier: Apache-2.0
/** The top level holds only known names, and files are named as the style guide says (D6.6, C). */
import { describe, expect, it } from "vitest";
import { repositoryFiles } from "./source-tree.ts";

const TOP_LEVEL = new Set([
  ...["services", "shared", "proto-events", "apps", "deploy", "systemd", "test", "bench", "docs", "tools"],
  ...["docker-compose.yml", "package.json", "package-lock.json", "tsconfig.json", "biome.json", "vitest.config.ts"],
  ...["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE"],
  ...[".gitignore", ".gitattributes", ".editorconfig", ".npmrc", ".dockerignore", ".githooks", ".ci", ".github"],
]);

/** Names that outside tools prescribe. */
const PRESCRIBED = /^(?:README|CHANGELOG|LICENSE|Dockerfile(?:\.[a-z0-9-]+)?|index\.html)(?:\.md)?$/;
/** Recorded material, and files whose names are those of another system's files. */
const FOREIGN = /(?:^|\/)(?:samples|golden|fixtures)\/|^(?:deploy|systemd)\/|^docs\/reference\//;
const FORBIDDEN_NAMES = new Set(["utils", "util", "helpers", "helper", "common", "misc", "types", "index"]);
const HISTORY = /(?:^|-)(?:enhanced|advanced|new|final|v\d+|phase-?\d+|fix-\d+)(?=-|$)/;

/** What is wrong with the name of a file; `undefined` if nothing is. */
function nameFault(file: string): string | undefined {
  const folders = file.split("/");
  const name = folders.pop() ?? "";
  const odd = folders.find((folder) => !/^\.?[a-z0-9]+(?:-[a-z0-9]+)*$/.test(folder));
  if (odd !== undefined) return `folder ${odd} is not kebab-case`;
  if (folders.length === 0 || PRESCRIBED.test(name)) return undefined;
  const [stem = ""] = name.replace(/^\./, "").split(".");
  if (!/^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.[a-z0-9-]+)*$/.test(name.replace(/^\./, ""))) return "is not kebab-case";
  if (FORBIDDEN_NAMES.has(stem)) return `${stem} says nothing about the content`;
  return HISTORY.test(stem) ? "tells history, which git keeps" : undefined;
}

describe("names", () => {
  it("at the top level are the known ones", () => {
    const top = new Set(repositoryFiles().map((file) => file.split("/")[0] ?? file));

    expect([...top].filter((name) => !TOP_LEVEL.has(name))).toEqual([]);
  });

  it("of files and folders are kebab-case and say what is inside", () => {
    const found = repositoryFiles()
      .filter((file) => !FOREIGN.test(file))
      .flatMap((file) => {
        const fault = nameFault(file);
        return fault === undefined ? [] : [`${file}: ${fault}`];
      });

    expect(found).toEqual([]);
  });
});

describe("the rule for names", () => {
  it.each([
    "shared/src/utils.ts",
    "shared/src/index.ts",
    "shared/src/camelCase.ts",
    "services/My-Service/a.ts",
    "shared/src/bus-v2.ts",
    "test/e2e/fix-6411.test.ts",
    "apps/cli/src/new-cluster.ts",
    "services/vm/types.test.ts",
  ])("refuses %s", (file) => {
    expect(nameFault(file)).toEqual(expect.any(String));
  });

  it.each([
    "shared/src/x509.ts",
    "services/vm/operations/create-snapshot.test.ts",
    "services/vm/README.md",
    "docs/adr/0001-one-bus.md",
    ".githooks/pre-commit",
    ".ci/run",
    "package.json",
    "apps/cli/bin/dvctl.cjs",
    "apps/cli/src/news.ts",
  ])("accepts %s", (file) => {
    expect(nameFault(file)).toBeUndefined();
  });
});
