// SPDX-License-Identifier: Apache-2.0
/** Recorded and hand-made os-release files. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseOsRelease } from "./os-release.ts";

test("reads a recorded os-release of Debian 12", () => {
  const text = readFileSync(new URL("../drivers/samples/os-release-12-debian.txt", import.meta.url), "utf8");

  expect(parseOsRelease(text)).toEqual({
    id: "debian",
    name: "Debian GNU/Linux 12 (bookworm)",
    version: "12",
    codename: "bookworm",
  });
});

test("undoes quotes and backslashes, and takes NAME without PRETTY_NAME", () => {
  const text = '# comment\nID=\'alpine\'\nNAME="A \\"quoted\\" one"\nVERSION_ID=3\\.20\nnot a line\n';

  expect(parseOsRelease(text)).toEqual({ id: "alpine", name: 'A "quoted" one', version: "3.20", codename: null });
});

test("gives the defaults for an empty file", () => {
  expect(parseOsRelease("")).toEqual({ id: "linux", name: "Linux", version: "", codename: null });
});

test("accepts any text", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => void parseOsRelease(text)));
});
