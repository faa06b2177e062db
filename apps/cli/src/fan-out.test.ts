// SPDX-License-Identifier: Apache-2.0
/** Exit codes and tables of fan-outs. */
import type { TargetStatus } from "@debvisor/proto-events/replies";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { censusText, drawFanOut, fanOutExitCode, type Outcome } from "./fan-out.ts";

function outcomeOf(...statuses: readonly (TargetStatus | "sick")[]): Outcome {
  const results = statuses.map((status, i) => ({
    node: "abcdefghij234567",
    name: `node-${i + 1}`,
    status: status === "sick" ? ("ok" as const) : status,
    ms: 1,
    ...(status === "ok" || status === "sick" ? { data: { verdict: status === "ok" ? "healthy" : "critical" } } : {}),
    ...(status === "failed"
      ? { error: { code: "TOOL_FAILED", kind: "operation-failed" as const, message: "broke" } }
      : {}),
  }));
  const count = (wanted: TargetStatus) => results.filter(({ status }) => status === wanted).length;
  const census = {
    total: results.length,
    digest: "d",
    ok: count("ok"),
    failed: count("failed"),
    refused: count("refused"),
    unreachable: count("unreachable"),
    timedOut: count("timed-out"),
    skipped: count("skipped"),
  };
  return { census, results };
}

const verdict = { value: "data.verdict", failed: ["critical"], warned: [] };

describe("the exit code of a fan-out", () => {
  it.each([
    ["all ok", ["ok", "ok"], 0],
    ["ok and disabled", ["ok", "skipped"], 0],
    ["nothing matched", [], 3],
    ["only disabled nodes matched", ["skipped"], 3],
    ["nobody answered", ["unreachable", "timed-out"], 4],
    ["one is away", ["ok", "unreachable"], 5],
    ["one refused", ["refused"], 5],
    ["a check failed", ["ok", "sick"], 6],
    ["a check failed and one is away", ["sick", "unreachable"], 6],
  ] as const)("with %s", (_, statuses, code) => {
    expect(fanOutExitCode(outcomeOf(...statuses), verdict)).toBe(code);
  });

  it("is 0 exactly when every target that is not disabled answered well", () => {
    const status = fc.constantFrom<TargetStatus>("ok", "failed", "refused", "unreachable", "timed-out", "skipped");
    fc.assert(
      fc.property(fc.array(status, { maxLength: 8 }), (statuses) => {
        const fine = statuses.includes("ok") && statuses.every((one) => one === "ok" || one === "skipped");
        expect(fanOutExitCode(outcomeOf(...statuses)) === 0).toBe(fine);
      }),
    );
  });
});

describe("the table of a fan-out", () => {
  it("shows every target, those that failed with their error", () => {
    const text = drawFanOut(
      outcomeOf("ok", "failed", "unreachable"),
      { columns: [{ heading: "VERDICT", value: "data.verdict" }] },
      { color: false, nowMs: 0 },
    );

    expect(text.split("\n").map((line) => line.split(/ {2,}/))).toEqual([
      ["NODE", "STATUS", "VERDICT", "ERROR"],
      ["node-1", "ok", "healthy", "-"],
      ["node-2", "failed", "-", "broke"],
      ["node-3", "unreachable", "-", "-"],
    ]);
  });

  it("puts what is longer than a line below, such as the journal of a failed unit", () => {
    const outcome = outcomeOf("ok");
    const checks = [
      { id: "services.x", status: "failed", message: "x failed.\nline 1\nline 2\u001b[2J\n", hint: "look" },
    ];
    const [first] = outcome.results;
    const columns = ["status", "id", "message", "hint"].map((value) => ({ heading: value.toUpperCase(), value }));

    const text = drawFanOut(
      { ...outcome, results: first ? [{ ...first, data: { checks } }] : [] },
      { columns: [], findings: { rows: "data.checks", columns, hide: { value: "status", in: ["passed"] } } },
      { color: false, nowMs: 0 },
    );

    expect(text).toMatch(/^node-1 {2}failed {2}services\.x {2}x failed\. \(more below\) {2}look$/m);
    expect(text).toContain("\n\nnode-1 services.x:\n  line 1\n  line 2\uFFFD[2J");
  });

  it("counts in words", () => {
    expect(censusText(outcomeOf("ok", "ok", "timed-out").census)).toBe("3 nodes: 2 ok, 1 timed out");
    expect(censusText(outcomeOf("ok").census)).toBe("1 node: 1 ok");
  });
});
