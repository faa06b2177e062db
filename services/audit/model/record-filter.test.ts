// SPDX-License-Identifier: Apache-2.0
import type { AuditRecord } from "@debvisor/proto-events/audit";
import { expect, test } from "vitest";
import { sampleRecord } from "./record.samples.ts";
import { type RecordQuery, recordTest, toListed } from "./record-filter.ts";

const NOW = Date.parse("2026-11-20T12:00:00Z");

const CASES: readonly [RecordQuery, Partial<AuditRecord>, boolean][] = [
  [{}, {}, true],
  [{ actor: "operator" }, { actor: "operator" }, true],
  [{ actor: "ann" }, { actor: "operator", user: "ann" }, true],
  [{ actor: "bob" }, { actor: "operator", user: "ann" }, false],
  [{ node: "node-2" }, { targets: ["node-1", "node-2"] }, true],
  [{ node: "node-3" }, { targets: ["node-1", "node-2"] }, false],
  [{ action: "node-agent.*" }, { action: "node-agent.put-file" }, true],
  [{ action: "*.put-file" }, { action: "node-agent.put-file" }, true],
  [{ action: "node*file" }, { action: "node-agent.put-file" }, true],
  [{ action: "node-agent.*" }, { action: "maintenance.enable" }, false],
  [{ action: "node.agent" }, { action: "nodeXagent" }, false],
  [{ action: "***" }, { action: "anything.at-all" }, true],
  [{ action: "a" }, { action: "ab" }, false],
  [{ action: "a*" }, { action: "a" }, true],
  [{ result: "ok" }, { result: { status: "ok", code: null, exitCode: 0, message: null } }, true],
  [{ result: "ok" }, { result: null }, false],
  [{ kind: "intent" }, { kind: "intent" }, true],
  [{ kind: "intent" }, { kind: "outcome" }, false],
  [{ ref: "r1" }, { ref: "r1" }, true],
  [{ ref: "op-aaaaaaaaaaaaa" }, { ref: "r1", operation: "op-aaaaaaaaaaaaa" }, true],
  [{ since: "1h" }, { time: "2026-11-20T11:30:00.000Z" }, true],
  [{ since: "1h" }, { time: "2026-11-20T10:30:00.000Z" }, false],
  [{ since: "2026-11-20T11:00:00Z" }, { time: "2026-11-20T11:30:00.000Z" }, true],
  [{ until: "2026-11-20T11:00:00Z" }, { time: "2026-11-20T11:30:00.000Z" }, false],
];

test.for(CASES)("the query %j answers %j with %s", ([query, more, expected]) => {
  expect(recordTest(query, NOW)({ ...sampleRecord, ...more })).toBe(expected);
});

test.for(["yesterday", "", "2026-13-45", "1"])("a time such as %j is refused or a span, never a guess", (since) => {
  const make = () => recordTest({ since }, NOW);

  if (since === "1") expect(make()({ ...sampleRecord, time: "2026-11-20T11:59:59.500Z" })).toBe(true);
  else expect(make).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
});

test("many stars match a long action quickly", () => {
  const matches = recordTest({ action: `${"*a".repeat(99)}b` }, NOW);
  const startedAt = performance.now();

  expect(matches({ ...sampleRecord, action: "a".repeat(100_000) })).toBe(false);

  expect(performance.now() - startedAt).toBeLessThan(5_000);
});

test("a listed record says nothing of keys and chains", () => {
  expect(Object.keys(toListed(sampleRecord, 7)).filter((key) => ["cred", "sig", "prev"].includes(key))).toEqual([]);
  expect(toListed(sampleRecord, 7).seq).toBe(7);
});
