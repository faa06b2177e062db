// SPDX-License-Identifier: Apache-2.0
/** SSH keys and hosts. */
import { expect, test } from "vitest";
import type { FileEntry } from "./file-checks.ts";
import { isSshKey, SSH_GREETING, sshHostCheck, sshKeysCheck } from "./ssh-checks.ts";

const file = (path: string, mode: number): FileEntry => ({ path, kind: "file", uid: 0, mode });

test("knows private keys by their names", () => {
  expect(["id_rsa", "/a/host_key", "/a/b.pem"].map(isSshKey)).not.toContain(false);
  expect(["/a/id_rsa.pub", "/a/known_hosts", "/a/config"].map(isSshKey)).not.toContain(true);
});

test.each<[string, FileEntry[], number, string]>([
  ["no keys", [file("/k/known_hosts", 0o644)], 0, "skipped"],
  ["no keys although hosts are to be reached", [], 1, "failed"],
  ["closed keys", [file("/k/id_rsa", 0o600), file("/k/id_ed25519", 0o400)], 1, "passed"],
  ["an open key", [file("/k/id_rsa", 0o644)], 0, "failed"],
])("judges SSH folders with %s", (_title, found, hosts, status) => {
  expect(sshKeysCheck({ found, named: [], hosts })).toMatchObject({ id: "connectivity.ssh-keys", status });
});

test("names the keys of the configuration that are missing or open, and counts each once", () => {
  const key = file("/k/deploy", 0o600);
  const named = [{ path: "/k/deploy", entry: key }];

  expect(sshKeysCheck({ found: [], named: [{ path: "/k/x", entry: undefined }], hosts: 0 }).message).toContain("/k/x");
  expect(sshKeysCheck({ found: [], named: [{ path: "/k/y", entry: file("/k/y", 0o640) }], hosts: 0 }).message).toMatch(
    /\/k\/y \(mode 0640/,
  );
  expect(sshKeysCheck({ found: [file("/k/deploy", 0o600)], named, hosts: 0 }).message).toMatch(
    /^1 private SSH key has/,
  );
});

test("judges hosts by what their server says", () => {
  const check = (reason: string | undefined) => sshHostCheck({ host: "h", port: 22 }, { ms: 1, reason });

  expect(check(undefined)).toMatchObject({ id: "connectivity.ssh:h:22", status: "passed" });
  expect(check("ECONNREFUSED")).toMatchObject({ status: "failed" });
  expect(["SSH-2.0-OpenSSH_9.2p1\r\n", "a banner\r\nSSH-1.99-x\r\n"].every((text) => SSH_GREETING.test(text))).toBe(
    true,
  );
  expect(["HTTP/1.1 400 Bad Request", "SSH-1.5-old"].some((text) => SSH_GREETING.test(text))).toBe(false);
});
