// SPDX-License-Identifier: Apache-2.0
/** Needed, missing, old and mute programs. */
import { expect, test } from "vitest";
import { type BinaryFacts, binaryChecks, neededTools } from "./binary-checks.ts";

const check = (id: string, facts: Partial<BinaryFacts>) =>
  binaryChecks({
    versions: {},
    minimumVersions: { jq: "1.6", "nats-server": "2.15.0" },
    needs: new Set(),
    runtime: "26.10.0",
    ...facts,
  }).find((found) => found.id === `binaries.${id}`);

test("needs nats-server on servers, systemctl under systemd, and what is configured", () => {
  expect([...neededTools({ roles: ["worker"], systemd: false, configured: ["ceph"] })]).toEqual(["ceph"]);
  expect([...neededTools({ roles: ["server"], systemd: true, configured: [] })]).toEqual(["nats-server", "systemctl"]);
});

test.each<[string, string, Partial<BinaryFacts>, object]>([
  ["a runtime that is new enough", "node", {}, { status: "passed" }],
  ["an old runtime", "node", { runtime: "20.20.2" }, { status: "failed", critical: true }],
  ["a missing tool that nothing needs", "jq", {}, { status: "skipped", hint: null }],
  ["a present tool that nothing needs", "jq", { versions: { jq: "1.5" } }, { status: "skipped" }],
  ["a missing tool", "jq", { needs: new Set(["jq"]) }, { status: "failed", critical: false }],
  ["an old tool", "jq", { needs: new Set(["jq"]), versions: { jq: "1.5" } }, { status: "failed", critical: false }],
  ["a mute tool", "jq", { needs: new Set(["jq"]), versions: { jq: "unknown" } }, { status: "warned" }],
  ["a good tool", "jq", { needs: new Set(["jq"]), versions: { jq: "1.7" } }, { status: "passed" }],
  ["a tool without a minimum", "git", { needs: new Set(["git"]), versions: { git: "1.0" } }, { status: "passed" }],
  ["a missing tool without a minimum", "git", { needs: new Set(["git"]) }, { status: "failed" }],
  ["a missing nats-server", "nats-server", { needs: new Set(["nats-server"]) }, { status: "failed", critical: true }],
  [
    "a missing nats-server without a minimum",
    "nats-server",
    { needs: new Set(["nats-server"]), minimumVersions: {} },
    { status: "failed", critical: true },
  ],
  [
    "an old nats-server",
    "nats-server",
    { needs: new Set(["nats-server"]), versions: { "nats-server": "2.9.10" } },
    { status: "failed", critical: true },
  ],
])("judges %s", (_title, id, facts, expected) => {
  const found = check(id, facts);

  expect(found).toMatchObject(expected);
  expect(found?.hint !== null).toBe(found?.status === "failed" || found?.status === "warned");
});
