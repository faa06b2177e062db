// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readGiven } from "./given-file.ts";

const dir = mkdtempSync(join(tmpdir(), "dv-given-"));
const original = join(dir, "original");
const env = { CREDENTIALS_DIRECTORY: join(dir, "given") };
mkdirSync(env.CREDENTIALS_DIRECTORY);
writeFileSync(original, "original\n");
writeFileSync(join(env.CREDENTIALS_DIRECTORY, "a.creds"), "given\n");
writeFileSync(join(env.CREDENTIALS_DIRECTORY, "blank"), "\n");
afterAll(() => rmSync(dir, { recursive: true }));

describe("a file that systemd may hand over", () => {
  it("is the credential, not the original", () => {
    expect(readGiven("a.creds", original, env)).toBe("given\n");
  });

  it("is the original where there is no such credential, and without systemd", () => {
    expect(readGiven("b.creds", original, env)).toBe("original\n");
    expect(readGiven("a.creds", original, {})).toBe("original\n");
  });

  it("is nothing when the credential is blank or there is no file", () => {
    expect(readGiven("blank", original, env)).toBeUndefined();
    expect(readGiven("a.creds", join(dir, "none"), {})).toBeUndefined();
  });

  it("is refused when it is there and cannot be read", () => {
    expect(() => readGiven("a.creds", dir, {})).toThrow("EISDIR");
  });
});
