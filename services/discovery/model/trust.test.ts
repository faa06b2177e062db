// SPDX-License-Identifier: Apache-2.0
/** What members believe while the authority is replaced. */
import type { Authority, TrustEntry } from "@debvisor/proto-events/membership";
import { describe, expect, test } from "vitest";
import type { StepOrder } from "./order.ts";
import { decideAdd, decideIssue, decideRemove, faultOf, firstTrust, phaseOf } from "./trust.ts";

const authority = (fingerprint: string): Authority => ({
  fingerprint,
  certificate: `certificate of ${fingerprint}`,
  notAfter: "2036-11-28T08:00:00.000Z",
});
const OLD = authority("a".repeat(64));
const NEXT = authority("b".repeat(64));
const from = OLD.fingerprint;
const AT = "2026-11-28T08:00:00.000Z";

const order = (step: string, direction: "do" | "undo" = "do", more: Partial<StepOrder> = {}): StepOrder => ({
  operation: "op-1",
  step,
  direction,
  epoch: 1,
  fence: 1,
  ...more,
});

type Decision = ReturnType<typeof decideAdd>;

function written(decision: Decision): TrustEntry {
  if (decision.kind !== "write") throw new Error(`it is ${JSON.stringify(decision)}`);
  return decision.entry;
}

const first = firstTrust(OLD);
const added = written(decideAdd(first, order("add"), { from, next: NEXT }));
const issuing = written(decideIssue(added, order("issue"), { from }));
const removed = written(decideRemove(issuing, order("remove"), { from, at: AT }));

describe("a rotation", () => {
  test("believes both, then the new one issues, then it is alone; each raises the generation", () => {
    expect([first, added, issuing, removed].map(phaseOf)).toEqual(["single", "added", "issuing", "single"]);
    expect([first, added, issuing, removed].map(({ generation }) => generation)).toEqual([1, 2, 3, 4]);
    expect(added).toMatchObject({ authorities: [OLD, NEXT], issuer: OLD.fingerprint });
    expect(issuing).toMatchObject({ authorities: [OLD, NEXT], issuer: NEXT.fingerprint });
    expect(removed).toMatchObject({ authorities: [NEXT], issuer: NEXT.fingerprint, rotatedAt: AT });
  });

  test("goes back the same way until the old one is removed", () => {
    const again = written(decideIssue(issuing, order("issue", "undo"), { from }));
    const before = written(decideAdd(again, order("add", "undo"), { from, next: undefined }));

    expect(again).toMatchObject({ authorities: [OLD, NEXT], issuer: OLD.fingerprint });
    expect(before).toMatchObject({ authorities: [OLD], issuer: OLD.fingerprint, generation: 5 });
    expect(decideIssue(removed, order("issue", "undo"), { from })).toMatchObject({ kind: "refused", code: "CONFLICT" });
  });

  test("is done once, whoever repeats a step", () => {
    expect(decideAdd(added, order("add"), { from, next: authority("c".repeat(64)) })).toEqual({ kind: "made" });
    expect(decideIssue(issuing, order("issue"), { from })).toEqual({ kind: "made" });
    expect(decideRemove(removed, order("remove"), { from, at: "later" })).toEqual({ kind: "made" });
  });

  test("is not begun by an order that comes after its undo, and not by another operation in between", () => {
    const undone = written(decideAdd(added, order("add", "undo"), { from, next: undefined }));
    const never = written(decideAdd(first, order("add", "undo"), { from, next: undefined }));
    const other = order("add", "do", { operation: "op-2" });

    expect(decideAdd(undone, order("add"), { from, next: NEXT })).toMatchObject({ code: "COMMAND_FENCED" });
    expect(decideAdd(never, order("add"), { from, next: NEXT })).toMatchObject({ code: "COMMAND_FENCED" });
    expect(never).toMatchObject({ generation: 1, authorities: [OLD] });
    expect(decideAdd(added, other, { from, next: NEXT })).toMatchObject({ code: "CONFLICT" });
    expect(decideIssue(added, order("issue", "do", { fence: 0 }), { from })).toMatchObject({ code: "COMMAND_FENCED" });
    expect(decideAdd(removed, order("add", "do", { operation: "op-3", fence: 2 }), { from, next: OLD })).toMatchObject({
      code: "CONFLICT",
    });
    expect(decideAdd(undefined, order("add"), { from, next: NEXT })).toMatchObject({ code: "CONFLICT" });
  });
});

describe("a member holds it", () => {
  const held = {
    authorities: [NEXT.fingerprint, OLD.fingerprint],
    issuer: NEXT.fingerprint,
    keys: [OLD.fingerprint, NEXT.fingerprint],
    inForce: true,
  };

  test("when it believes what is wanted, and a server has the keys and goes by its files", () => {
    expect(faultOf(issuing, "server", held)).toBeUndefined();
    expect(faultOf(issuing, "worker", { ...held, keys: [] })).toBeUndefined();
  });

  test.each([
    ["authorities", { authorities: [OLD.fingerprint] }],
    ["certificate", { issuer: OLD.fingerprint }],
    ["key", { keys: [OLD.fingerprint] }],
    ["nats-server", { inForce: false }],
  ])("and not without: %s", (what, lacks) => {
    expect(faultOf(issuing, "server", { ...held, ...lacks })).toContain(what);
  });

  test("and not with the old one once that is removed", () => {
    expect(faultOf(removed, "server", held)).toContain("authorities");
    expect(faultOf(removed, "server", { ...held, authorities: [NEXT.fingerprint] })).toContain("key");
  });
});
