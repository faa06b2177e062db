// SPDX-License-Identifier: Apache-2.0
import type { ClusterEntry, Member } from "@debvisor/proto-events/membership";
import { describe, expect, it } from "vitest";
import { declaredOff, rescued, rescueFault } from "./rescue.ts";

const own = { id: "aaaaaaaaaaaaaaaa", name: "m1" };
const server = (n: number, answers: string | null = null) => ({
  id: String.fromCharCode(96 + n).repeat(16),
  name: `m${n}`,
  answers,
});
const facts = { actor: "root at m1", reason: "fire", at: "2026-01-02T03:04:05.000Z", formation: "after" };

describe("a rescue is refused", () => {
  it.each([
    ["for the only server", [], [], "RESCUE_REFUSED"],
    ["when this machine is named", [server(2), server(3)], ["m1", "m2", "m3"], "INVALID_ARGUMENT"],
    ["for a name that is no server's", [server(2), server(3)], ["m2", "m3", "m9"], "NODE_NOT_FOUND"],
    ["when one of three can be reached", [server(2, "x:1"), server(3)], ["m2", "m3"], "RESCUE_REFUSED"],
    [
      "when one of five can be reached",
      [2, 3, 4, 5].map((n) => server(n, n === 5 ? "x:1" : null)),
      ["m2", "m3", "m4"],
      "RESCUE_REFUSED",
    ],
    ["when one is missing that was not named", [server(2), server(3)], ["m2"], "RESCUE_REFUSED"],
    ["when nobody was named", [server(2), server(3)], [], "RESCUE_REFUSED"],
  ] as const)("%s", (_when, others, off, code) => {
    expect(rescueFault(own, others, off)?.code).toBe(code);
  });

  it("not when every other one is silent and named, by name or id", () => {
    expect(rescueFault(own, [server(2), server(3)], ["m2", server(3).id])).toBeUndefined();
    expect(
      rescueFault(
        own,
        [2, 3, 4, 5].map((n) => server(n)),
        ["m2", "m3", "m4", "m5"],
      ),
    ).toBeUndefined();
  });

  it("of five with two survivors says that only one goes on", () => {
    const others = [server(2, "x:1"), server(3), server(4), server(5)];
    expect(rescueFault(own, others, ["m3", "m4", "m5"])?.why).toContain("only one server can go on, and m2 (x:1)");
  });
});

describe("what a rescue writes", () => {
  const member = { kind: "member", role: "server", state: "active", generation: 3, removed: null } as unknown as Member;

  it("removes a server once", () => {
    const off = declaredOff(member, facts);
    expect(off).toMatchObject({ state: "removed", generation: 4, removed: { reason: "fire", at: facts.at } });
    expect(declaredOff(off, facts)).toBeUndefined();
    expect(declaredOff({ ...member, role: "worker" }, facts)).toBeUndefined();
  });

  it("makes the cluster another formation of one server, once", () => {
    const entry = {
      kind: "cluster",
      formation: "before",
      servers: 3,
      joining: {},
      unattendedUntil: "x",
    } as unknown as ClusterEntry;
    const after = rescued(entry, facts);
    expect(after).toMatchObject({
      formation: "after",
      servers: 1,
      rescuedAt: facts.at,
      joining: null,
      unattendedUntil: null,
    });
    expect(after && rescued(after, facts)).toBeUndefined();
  });
});
