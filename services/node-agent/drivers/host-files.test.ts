// SPDX-License-Identifier: Apache-2.0
/** Files below a root that is a folder, links that lead out of it included. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";
import { findFault } from "./config-files.ts";
import { createHostFiles, tryWriting, walk } from "./host-files.ts";

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "dv-root-"));
  mkdirSync(join(root, "etc/debvisor"), { recursive: true });
  writeFileSync(join(root, "etc/debvisor/a.yaml"), "a: 1\n");
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

test("reads, lists and finds files inside the root", async () => {
  const files = createHostFiles(root);

  expect(await files.read("/etc/debvisor/a.yaml", 100)).toEqual({ text: "a: 1\n" });
  expect(await files.list("/etc/debvisor")).toEqual(["a.yaml"]);
  expect(await files.exists("/etc/debvisor/a.yaml")).toBe(true);
  expect(await files.exists("/etc/none")).toBe(false);
  expect(await files.list("/none")).toBeUndefined();
  expect(await files.read("/none", 100)).toEqual({ reason: "ENOENT" });
  expect(await files.read("/etc/debvisor/a.yaml", 1)).toEqual({ reason: "too large" });
});

test("stays inside the root, whatever a path or a link says", async () => {
  const files = createHostFiles(root);
  symlinkSync("/etc/passwd", join(root, "etc/out"));
  symlinkSync("debvisor", join(root, "etc/in"));

  expect(await files.resolve("/../../etc/debvisor/a.yaml")).toBe(join(root, "etc/debvisor/a.yaml"));
  expect(await files.resolve("/etc/out")).toBeUndefined();
  expect(await files.exists("/etc/out")).toBe(false);
  expect(await files.read("/etc/out", 100)).toEqual({ reason: "outside" });
  expect(await files.list("/etc/in")).toEqual(["a.yaml"]);
  expect(await createHostFiles("/").resolve("/etc/hostname")).toBe("/etc/hostname");
});

test("walks a folder to a depth and a number, without following links", async () => {
  chmodSync(join(root, "etc/debvisor/a.yaml"), 0o640);
  symlinkSync("/", join(root, "link"));

  const entries = (await walk(root, 3, 100)) ?? [];

  expect(entries.map(({ path }) => path.slice(root.length)).sort()).toEqual([
    "",
    "/etc",
    "/etc/debvisor",
    "/etc/debvisor/a.yaml",
    "/link",
  ]);
  expect(entries.find(({ path }) => path.endsWith("a.yaml"))).toMatchObject({ kind: "file", mode: 0o640 });
  expect(entries.find(({ path }) => path.endsWith("link"))).toMatchObject({ kind: "other" });
  expect(await walk(root, 1, 100)).toHaveLength(3);
  expect(await walk(root, 3, 2)).toHaveLength(2);
  expect(await walk(join(root, "none"), 1, 100)).toBeUndefined();
});

test("tries to write and leaves nothing behind", async () => {
  expect(await tryWriting(root)).toBeUndefined();
  expect(await tryWriting(join(root, "none"))).toBe("ENOENT");
  expect(readdirSync(root)).toEqual(["etc"]);
});

test.each([
  ["a.yaml", "a: 1\nb: [1\nc: 2\n", { key: "b" }],
  ["a.yml", "a: 1\na: 2\n", { line: 2 }],
  ["a.json", '{"a": }', { line: 1, key: "a" }],
  ["a.ini", "[a]\nb", { line: 2, key: "a" }],
])("finds the fault in %s", async (path, text, place) => {
  expect(await findFault(path, text)).toMatchObject(place);
});

test("finds a value that the schema refuses, by line and key", async () => {
  const schema = z.strictObject({ probe: z.object({ port: z.number() }).optional() });

  expect(await findFault("x.yaml", "# comment\nprobe:\n  port: high\n", schema)).toMatchObject({
    line: 3,
    key: "probe.port",
  });
  expect(await findFault("x.yaml", "probe:\n  port: 1\nprobee: 2\n", schema)).toMatchObject({ line: 3, key: "probee" });
  expect(await findFault("x.yaml", "- 1\n", schema)).toMatchObject({ line: 1, key: undefined });
  expect(await findFault("x.yaml", "probe: {port: 1}\n", schema)).toBeUndefined();
  expect(await findFault("x.yaml", "# nothing\n", schema)).toBeUndefined();
  expect(await findFault("x.txt", "anything")).toBeUndefined();
});

test("is not exhausted by aliases that multiply", async () => {
  const lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"];
  for (const [from, to] of ["ab", "bc", "cd", "de", "ef"])
    lines.push(`${to}: &${to} [${Array(10).fill(`*${from}`).join(",")}]`);

  expect(await findFault("bomb.yaml", lines.join("\n"), z.looseObject({}))).toMatchObject({ line: 1 });
});
