// SPDX-License-Identifier: Apache-2.0
/** Key files as tsig-keygen writes them, and those that are refused. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { readTsigKeyFile } from "./tsig-key-file.ts";

const cwd = mkdtempSync(join(tmpdir(), "debvisor-key-"));
afterAll(() => rmSync(cwd, { recursive: true }));

const SECRET = "c2FtcGxlIHNlY3JldCBvZiAzMiBieXRlcyBsZW5ndGg=";
const KEY = `key "dv-2026" {\n\talgorithm hmac-sha256;\n\tsecret "${SECRET}";\n};\n`;
let files = 0;

function read(text: string, mode = 0o600) {
  const file = `${++files}.key`;
  writeFileSync(join(cwd, file), text);
  chmodSync(join(cwd, file), mode);
  return readTsigKeyFile(file, { cwd });
}

it("reads name, algorithm and secret", () => {
  const key = { name: "dv-2026", algorithm: "hmac-sha256", secret: SECRET };

  expect(read(KEY)).toEqual(key);
  expect(read(KEY, 0o640)).toEqual(key);
  expect(read(`# of ns1\nkey dv-2026. { secret ${SECRET}; algorithm HMAC-SHA256; };`)).toEqual(key);
});

it.each([
  ["that others may read", KEY, 0o644, /mode 0644.*chmod 0600/],
  ["that the group may write", KEY, 0o660, /mode 0660/],
  ["that is empty", "", 0o600, /no key file/],
  ["with two keys", KEY + KEY, 0o600, /no key file/],
  ["of a weak algorithm", KEY.replace("sha256", "md5"), 0o600, /hmac-md5/],
  ["with a short secret", KEY.replace(SECRET, "c2VjcmV0"), 0o600, /16 bytes/],
  ["with a secret that is no base64", KEY.replace(SECRET, "?".repeat(44)), 0o600, /16 bytes/],
  ["with a name that cannot be", KEY.replace("dv-2026", "a*b"), 0o600, /no name/],
] as const)("refuses a file %s", (_what, text, mode, why) => {
  expect(() => read(text, mode)).toThrow(
    expect.objectContaining({ code: "DNS_KEY_INVALID", message: expect.stringMatching(why) }),
  );
});

it("says why a file cannot be read", () => {
  expect(() => readTsigKeyFile("missing.key", { cwd })).toThrow(
    expect.objectContaining({ code: "DNS_KEY_INVALID", exitCode: 6, message: expect.stringContaining("ENOENT") }),
  );
});
