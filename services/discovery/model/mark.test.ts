// SPDX-License-Identifier: Apache-2.0
/** Marks by operations: repeats, owners that were overtaken, undos that come late. */
import { expect, test } from "vitest";
import { decideMark, type Mark, type MarkChange } from "./mark.ts";
import { NodeRecord, type View } from "./registry.ts";

const REGISTERED = "2026-11-28T07:00:00.000Z";
const VIEW: View = {
  now: 0,
  time: REGISTERED,
  listeningSince: 0,
  suspectAfterMs: 6_000,
  lostAfterMs: 15_000,
  ownerOf: () => undefined,
};
const OURS: Mark = { reason: "disk swap", actor: "ines", at: "2026-11-28T08:00:00.000Z" };
const THEIRS: Mark = { reason: "memory", actor: "tom", at: "2026-11-28T09:00:00.000Z" };

function record(more: Partial<NodeRecord> = {}): NodeRecord {
  return NodeRecord.parse({
    id: "abcdefghij234567",
    name: "node-1",
    state: "lost",
    roles: ["worker"],
    version: "0.1.0",
    addresses: [],
    lastSeen: null,
    registeredAt: REGISTERED,
    bootId: "",
    disabled: null,
    ...more,
  });
}

interface Asked {
  readonly undo?: boolean;
  readonly epoch?: number;
  readonly fence?: number;
  readonly operation?: string;
}

/** Disables, or undoes that. */
function asked({ undo = false, epoch = 1, fence = 10, operation = "op-a" }: Asked = {}): MarkChange {
  const direction = undo ? ("undo" as const) : ("do" as const);
  const order = { operation, step: "mark", direction, epoch, fence };
  const [from, to] = undo ? [OURS, null] : [null, OURS];
  return { registeredAt: REGISTERED, from, to, order };
}

/** The record after a change that is written. */
function after(before: NodeRecord, change: MarkChange): NodeRecord {
  const decision = decideMark(before, change, undefined, VIEW);
  if (decision.kind !== "write") throw new Error(`not written: ${decision.kind}`);
  return decision.outcome.record;
}

const decide = (before: NodeRecord | undefined, change: MarkChange) => decideMark(before, change, undefined, VIEW);

test("a step is done once, undone once, and each says so in one event", () => {
  const done = decide(record(), asked());
  const disabled = after(record(), asked());
  const undone = decide(disabled, asked({ undo: true }));

  expect(done).toMatchObject({ kind: "write", outcome: { facts: [{ event: "node.disabled" }] } });
  expect(disabled).toMatchObject({ state: "disabled", disabled: OURS, order: { operation: "op-a", undone: false } });
  expect(decide(disabled, asked({ epoch: 2 }))).toEqual({ kind: "made" });
  expect(undone).toMatchObject({
    kind: "write",
    outcome: { record: { disabled: null, order: { undone: true } }, facts: [{ event: "node.enabled" }] },
  });
  expect(decide(after(disabled, asked({ undo: true })), asked({ undo: true }))).toEqual({ kind: "made" });
});

test("an undo of what never happened leaves its order, so that it cannot happen later", () => {
  const undone = decide(record(), asked({ undo: true }));

  expect(undone).toMatchObject({ kind: "write", outcome: { facts: [], record: { disabled: null } } });
  expect(decide(after(record(), asked({ undo: true })), asked())).toMatchObject({
    kind: "refused",
    code: "COMMAND_FENCED",
  });
});

test("an owner that was overtaken, and an operation that came before, change nothing", () => {
  const seen = after(record(), asked({ epoch: 2 }));
  const later = after(record(), { ...asked({ operation: "op-b", fence: 20 }), to: THEIRS });

  expect(decide(seen, asked({ epoch: 1, undo: true }))).toMatchObject({ kind: "refused", code: "COMMAND_FENCED" });
  expect(decide(later, asked())).toMatchObject({ kind: "refused", code: "COMMAND_FENCED" });
});

test("what somebody else has set since is not undone", () => {
  const theirs = after(after(record(), asked()), {
    ...asked({ operation: "op-b", fence: 20 }),
    from: OURS,
    to: THEIRS,
  });

  expect(decide(theirs, asked({ undo: true, fence: 30 }))).toMatchObject({ kind: "refused", code: "CONFLICT" });
  expect(decide(theirs, asked({ undo: true, fence: 10 }))).toMatchObject({ kind: "refused", code: "COMMAND_FENCED" });
});

test("a node that was deleted, or entered anew, is not the one that was meant", () => {
  const anew = record({ registeredAt: "2026-11-28T07:30:00.000Z" });

  for (const gone of [undefined, record({ deleted: true }), anew]) {
    expect(decide(gone, asked())).toMatchObject({ kind: "refused", code: "CONFLICT" });
    expect(decide(gone, asked({ undo: true }))).toEqual({ kind: "made" });
  }
});
