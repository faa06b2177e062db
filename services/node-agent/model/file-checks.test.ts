// SPDX-License-Identifier: Apache-2.0
/** Owners, modes and faults in configuration. */
import { expect, test } from "vitest";
import { configurationChecks, type FileEntry, isSecretFile, ownFilesCheck } from "./file-checks.ts";

const file = (path: string, mode: number, uid = 1000): FileEntry => ({ path, kind: "file", uid, mode });

test("knows secrets by their names", () => {
  const secret = [
    "id_ed25519",
    "node.creds",
    "x.seed",
    "context.json",
    "identity.pem",
    "membership.json",
    "preseed.yaml",
  ];
  expect(secret.map((name) => isSecretFile(`/a/${name}`))).not.toContain(false);
  expect(["/a/id_ed25519.pub", "/a/state.json", "/a/ca.pem"].map(isSecretFile)).not.toContain(true);
});

test.each<[string, FileEntry[] | undefined, string]>([
  ["cannot be listed", undefined, "failed"],
  ["is in order", [file("/s/a", 0o644), file("/s/root", 0o600, 0), file("/s/x.seed", 0o600)], "passed"],
  ["holds files of another user", [file("/s/a", 0o644, 7)], "failed"],
  ["holds files that all may write", [file("/s/a", 0o666)], "failed"],
  ["holds a secret that others may read", [file("/s/x.seed", 0o640)], "failed"],
  ["holds a link, whose mode means nothing", [{ ...file("/s/l", 0o777), kind: "other" }], "passed"],
])("judges a state folder that %s", (_title, entries, status) => {
  expect(ownFilesCheck("state-files", "/s", entries, 1000)).toMatchObject({ id: "permissions.state-files", status });
});

test("names at most five files", () => {
  const entries = Array.from({ length: 7 }, (_, index) => file(`/s/f${index}`, 0o666));

  expect(ownFilesCheck("state-files", "/s", entries, 1000).message).toMatch(/f4 .* and 2 more/);
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
