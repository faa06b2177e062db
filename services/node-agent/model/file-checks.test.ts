// SPDX-License-Identifier: Apache-2.0
/** Owners, modes and faults in configuration. */
import { expect, test } from "vitest";
import {
  configurationChecks,
  type FileEntry,
  isSecretFile,
  isSshKey,
  sshKeysCheck,
  stateFilesCheck,
  userCheck,
} from "./file-checks.ts";

const file = (path: string, mode: number, uid = 1000): FileEntry => ({ path, kind: "file", uid, mode });

test("knows secrets and SSH keys by their names", () => {
  expect(["/a/id_ed25519", "/a/node.creds", "/a/x.seed", "/a/context.json"].map(isSecretFile)).not.toContain(false);
  expect(["/a/id_ed25519.pub", "/a/state.json"].map(isSecretFile)).not.toContain(true);
  expect(["id_rsa", "/a/host_key", "/a/b.pem"].map(isSshKey)).not.toContain(false);
  expect(["/a/id_rsa.pub", "/a/known_hosts", "/a/config"].map(isSshKey)).not.toContain(true);
});

test.each<[string, FileEntry[] | undefined, string]>([
  ["cannot be listed", undefined, "failed"],
  ["is in order", [file("/s/a", 0o644), file("/s/root", 0o600, 0), file("/s/x.seed", 0o600)], "passed"],
  ["holds files of another user", [file("/s/a", 0o644, 7)], "failed"],
  ["holds files that all may write", [file("/s/a", 0o666)], "failed"],
  ["holds a secret that others may read", [file("/s/x.seed", 0o640)], "failed"],
  ["holds a link, whose mode means nothing", [{ ...file("/s/l", 0o777), kind: "other" }], "passed"],
])("judges a state folder that %s", (_title, entries, status) => {
  expect(stateFilesCheck("/s", entries, 1000)).toMatchObject({ id: "permissions.state-files", status });
});

test("names at most five files", () => {
  const entries = Array.from({ length: 7 }, (_, index) => file(`/s/f${index}`, 0o666));

  expect(stateFilesCheck("/s", entries, 1000).message).toMatch(/f4 .* and 2 more/);
});

test.each<[string, FileEntry[], string]>([
  ["no keys", [file("/k/known_hosts", 0o644)], "skipped"],
  ["closed keys", [file("/k/id_rsa", 0o600), file("/k/id_ed25519", 0o400)], "passed"],
  ["an open key", [file("/k/id_rsa", 0o644)], "failed"],
])("judges SSH folders with %s", (_title, entries, status) => {
  expect(sshKeysCheck(entries)).toMatchObject({ id: "permissions.ssh-keys", status });
});

test("warns an ordinary user only about tools that change the host", () => {
  expect(userCheck(0, new Set(["ceph"]))).toMatchObject({ status: "passed" });
  expect(userCheck(1000, new Set(["jq"]))).toMatchObject({ status: "passed" });
  expect(userCheck(1000, new Set(["ceph"]))).toMatchObject({ status: "warned" });
});

test("names file, line and key of a fault", () => {
  const [faulty, keyless, unreadable, valid] = configurationChecks([
    { path: "/etc/debvisor/a.yaml", outcome: "faulty", fault: { line: 3, key: "port", problem: "not a number" } },
    { path: "/etc/debvisor/b.yaml", outcome: "faulty", fault: { line: 1, key: undefined, problem: "empty" } },
    { path: "/etc/debvisor/c.yaml", outcome: "unreadable", reason: "EACCES" },
    { path: "/etc/debvisor/d.yaml", outcome: "valid" },
  ]);

  expect(faulty).toMatchObject({
    id: "configuration./etc/debvisor/a.yaml",
    status: "failed",
    message: "/etc/debvisor/a.yaml, line 3, key port: not a number.",
  });
  expect(keyless?.message).toBe("/etc/debvisor/b.yaml, line 1: empty.");
  expect(unreadable).toMatchObject({ status: "failed" });
  expect(valid).toMatchObject({ status: "passed", hint: null });
  expect(configurationChecks([])).toMatchObject([{ status: "skipped" }]);
});
