// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { journalFields } from "./journal-fields.ts";
import { sampleRecord } from "./record.samples.ts";

const fieldsOf = (more: Partial<typeof sampleRecord> = {}) =>
  Object.fromEntries(journalFields({ ...sampleRecord, ...more }, 7));

test("the message is one readable line that holds the word debvisor", () => {
  expect(fieldsOf()["MESSAGE"]).toBe("debvisor: operator node-agent.put-file on node-1: ok (greeting)");
  expect(
    fieldsOf({ user: "ann", kind: "intent", result: null, reason: null, mode: "plan", targets: [] })["MESSAGE"],
  ).toBe("debvisor: operator (ann) node-agent.put-file as plan: intent");
});

test("details are fields of their own; what is not known is left out", () => {
  const fields = fieldsOf();

  expect(fields).toMatchObject({
    SYSLOG_IDENTIFIER: "debvisor",
    DEBVISOR_SEQ: "7",
    DEBVISOR_ACTOR: "operator",
    DEBVISOR_ACTION: "node-agent.put-file",
    DEBVISOR_TARGETS: "node-1",
    DEBVISOR_RESULT: "ok",
    DEBVISOR_REF: "op-aaaaaaaaaaaaa",
    DEBVISOR_REASON: "greeting",
    PRIORITY: "5",
  });
  expect(Object.keys(fields)).not.toContain("DEBVISOR_USER");
});

test("a line end in a value cannot make another field", () => {
  const fields = fieldsOf({ reason: "a\nDEBVISOR_ACTOR=root\r\u2028b\0c" });

  expect(fields["DEBVISOR_REASON"]).toBe("a DEBVISOR_ACTOR=root b c");
  expect(fields["DEBVISOR_ACTOR"]).toBe("operator");
});

test("what went wrong has a higher priority", () => {
  const refused = { status: "refused", code: "PERMISSION_DENIED", exitCode: 1, message: null } as const;

  expect(fieldsOf({ kind: "refusal", result: refused })).toMatchObject({
    PRIORITY: "4",
    MESSAGE: "debvisor: operator node-agent.put-file on node-1: refused PERMISSION_DENIED (greeting)",
  });
});

test("long values and many targets are cut", () => {
  const fields = fieldsOf({ reason: "x".repeat(5_000), targets: Array.from({ length: 30 }, (_, n) => `node-${n}`) });

  expect(fields["DEBVISOR_REASON"]?.length).toBeLessThan(2_010);
  expect(fields["MESSAGE"]).toContain("node-4 and 25 more");
});
