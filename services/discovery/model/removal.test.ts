// SPDX-License-Identifier: Apache-2.0
/** Who may be removed, and what a removal and its undo make of an entry of the membership. */
import { type ClusterEntry, Member } from "@debvisor/proto-events/membership";
import { describe, expect, test } from "vitest";
import type { StepOrder } from "./order.ts";
import { decideClosing, decideRemoval, quorumFault, type RemovalSubject, serverChecks } from "./removal.ts";

/** Servers by their letters; a capital one lives. The first is the one to be removed. */
function servers(letters: string): RemovalSubject[] {
  return [...letters].map((letter, i) => ({
    id: `${letter}${i}`,
    name: letter,
    alive: letter === letter.toUpperCase(),
  }));
}

function fault(letters: string): string | undefined {
  const all = servers(letters);
  return quorumFault(all[0] as RemovalSubject, all);
}

describe("a server", () => {
  test.each(["aBC", "ABCDE", "aBCDE", "aBCdE", "ABCD", "aBCD"])("may go from %s", (letters) => {
    expect(fault(letters)).toBeUndefined();
  });

  test.each([
    ["A", "only server"],
    ["a", "only server"],
    ["AB", "of two servers none"],
    ["aB", "of two servers none"],
    ["ABC", "only one that is lost"],
    ["aBc", "only 1 of 3 servers are up"],
    ["abCDe", "only 2 of 5 servers are up"],
    ["ABCde", "only 2 of the 4 servers that stay are up, 3 are needed"],
  ])("may not go from %s", (letters, why) => {
    expect(fault(letters)).toContain(why);
  });

  test("that is no active one costs nothing", () => {
    expect(quorumFault({ id: "x", name: "x", alive: true }, servers("AB"))).toBeUndefined();
  });

  test("may not go while nobody leads or replicas lag, and all of it is said at once", () => {
    const [subject, ...others] = servers("ABC") as [RemovalSubject, ...RemovalSubject[]];
    const checks = serverChecks(subject, [subject, ...others], { led: false, lagging: ["DV_OPS"] });

    expect(checks.map(({ id, status }) => [id, status])).toEqual([
      ["servers.quorum", "failed"],
      ["servers.leader", "failed"],
      ["servers.replicas", "failed"],
      ["servers.secrets", "warned"],
    ]);
  });
});

const AT = "2026-11-28T08:00:00.000Z";
const SAID = { before: "active" as const, actor: "ann", reason: "sold", at: AT };
const member = Member.parse({
  ...{ kind: "member", id: "a".repeat(16), name: "node-1", role: "worker", state: "active", generation: 2 },
  ...{ incarnation: 1, key: "0".repeat(64), busKey: "U", addresses: [], endpoints: null, admittedBy: "secret" },
  ...{ admittedAt: AT, certificate: null, removed: null },
});

function order(more: Partial<StepOrder> = {}): StepOrder {
  return { operation: "op-a", step: "membership", direction: "do", epoch: 1, fence: 10, ...more };
}

function removed(by = order()): Member {
  const decision = decideRemoval(member, by, SAID);
  if (decision.kind !== "write") throw new Error(decision.kind);
  return decision.entry;
}

describe("the entry of a member", () => {
  test("says once that it is removed, under a new generation, and goes back under another one", () => {
    const undone = decideRemoval(removed(), order({ direction: "undo" }), SAID);

    expect(removed()).toMatchObject({
      state: "removed",
      generation: 3,
      removed: { at: AT, actor: "ann", reason: "sold" },
    });
    expect(decideRemoval(removed(), order({ epoch: 2 }), SAID)).toEqual({ kind: "made" });
    expect(undone).toMatchObject({ kind: "write", entry: { state: "active", generation: 4, removed: null } });
  });

  test("is not removed by an owner whose removal was undone, nor taken back from somebody else's removal", () => {
    const undone = decideRemoval(member, order({ direction: "undo" }), SAID);
    const theirs = removed(order({ operation: "op-b" }));

    expect(undone).toMatchObject({ kind: "write", entry: { state: "active", generation: 2, order: { undone: true } } });
    expect(decideRemoval(undone.kind === "write" ? undone.entry : undefined, order(), SAID)).toMatchObject({
      code: "COMMAND_FENCED",
    });
    expect(decideRemoval(theirs, order({ direction: "undo" }), SAID)).toMatchObject({ code: "CONFLICT" });
    expect(decideRemoval(theirs, order(), SAID)).toMatchObject({ code: "CONFLICT" });
  });
});

test("unattended joining is closed once, and opened again as it was unless somebody else has said otherwise", () => {
  const open: ClusterEntry = {
    ...{ kind: "cluster", cluster: "lab", formation: "f", servers: 3, foundedAt: AT, foundedBy: member.id },
    ...{ unattendedUntil: AT, joining: null },
  };
  const close = order({ step: "close" });
  const undo = order({ step: "close", direction: "undo" });
  const closed = decideClosing(open, close, AT);
  const entry = closed.kind === "write" ? closed.entry : open;

  expect(entry.unattendedUntil).toBeNull();
  expect(decideClosing(entry, close, AT)).toEqual({ kind: "made" });
  expect(decideClosing(entry, undo, AT)).toMatchObject({ kind: "write", entry: { unattendedUntil: AT } });
  expect(decideClosing({ ...entry, unattendedUntil: "later" }, undo, AT)).toMatchObject({ code: "CONFLICT" });
});
