// SPDX-License-Identifier: Apache-2.0
/** The ring of keys: which one signs, which one a server has, and how a rotation goes on and back. */
import type { DnsServer } from "@debvisor/proto-events/dns-data";
import type { OperationId } from "@debvisor/proto-events/primitives";
import { expect, it } from "vitest";
import {
  decideAt,
  decideEnd,
  decideForget,
  decideMake,
  decidePhase,
  heldKeys,
  type KeyRing,
  keysFileOf,
  NO_KEYS,
  type RingDecision,
  RotationPhase,
  signingKey,
} from "./key-ring.ts";

const FIRST = "op-aaaaaaaaaaaaa" as OperationId;
const SECOND = "op-bbbbbbbbbbbbb" as OperationId;
const THIRD = "op-ccccccccccccc" as OperationId;
const AT = "2026-11-28T08:00:00.000Z";

/** The ring that a decision writes; the old one where nothing is to be done. */
function after(ring: KeyRing, decision: RingDecision): KeyRing {
  if (decision.kind === "refused") throw new Error(decision.why);
  return decision.kind === "write" ? decision.ring : ring;
}

/** A rotation of one key, as far as a phase; each decision twice. */
function rotated(ring: KeyRing, operation: OperationId, until: RotationPhase | "end"): KeyRing {
  let now = ring;
  const go = (decide: (at: KeyRing) => RingDecision) => {
    now = after(now, decide(now));
    expect(decide(now)).toEqual({ kind: "done" });
  };
  go((at) => decideMake(at, operation, ["node"]));
  const phases = RotationPhase.options;
  for (const [i, to] of phases.entries()) {
    const from = phases[i - 1];
    if (from === undefined) continue;
    if (now.rotation?.phase === until) return now;
    go((at) => decidePhase(at, operation, { from, to, at: AT }));
  }
  if (until === "end") go((at) => decideEnd(at, operation));
  return now;
}

const settled = rotated(NO_KEYS, FIRST, "end");

it("signs with the new key from the switch on, and has the old one until the end", () => {
  const signing = RotationPhase.options.map((phase) => signingKey(rotated(settled, SECOND, phase), "node"));

  expect(signing).toEqual([
    ...["dv-node-aaaaaaaaaaaaa", "dv-node-aaaaaaaaaaaaa"],
    ...["dv-node-bbbbbbbbbbbbb", "dv-node-bbbbbbbbbbbbb", "dv-node-bbbbbbbbbbbbb"],
  ]);
  expect(signingKey(settled, "vm")).toBeNull();
  expect(heldKeys(rotated(settled, SECOND, "switched"), "node", "both")).toHaveLength(2);
  expect(rotated(settled, SECOND, "end")).toMatchObject({ keys: { node: "dv-node-bbbbbbbbbbbbb" }, rotation: null });
});

it("takes over a rotation that was given up before it removed, and lets none in that was undone or has ended", () => {
  const made = rotated(settled, SECOND, "made");
  const undone = after(made, decideForget(made, SECOND));

  // The lock is held by whoever asks: what is there was given up.
  expect(after(made, decideMake(made, THIRD, ["node"]))).toMatchObject({
    keys: settled.keys,
    rotation: { operation: THIRD, phase: "made" },
  });
  expect(decideMake(rotated(settled, SECOND, "removing"), THIRD, ["node"]).kind).toBe("refused");
  expect(undone).toMatchObject({ keys: settled.keys, rotation: null });
  expect(decideMake(undone, SECOND, ["node"]).kind).toBe("refused");
  // Undone before it began, because its order was late.
  expect(decideMake(after(settled, decideForget(settled, SECOND)), SECOND, ["node"]).kind).toBe("refused");
  expect(decideMake(settled, FIRST, ["node"]).kind).toBe("done");
  expect(decidePhase(settled, SECOND, { from: "made", to: "deployed", at: AT }).kind).toBe("refused");
});

it("goes back a phase at a time, and not at all once it removes", () => {
  const waited = rotated(settled, SECOND, "waited");
  const switched = after(waited, decidePhase(waited, SECOND, { from: "waited", to: "switched", at: AT }));
  const deployed = after(switched, decidePhase(switched, SECOND, { from: "switched", to: "deployed", at: AT }));

  expect(switched.rotation?.switchedAt).toBe(AT);
  expect(deployed.rotation).toMatchObject({ phase: "deployed", switchedAt: null });
  expect(decideForget(deployed, SECOND).kind).toBe("refused");
  const removing = rotated(settled, SECOND, "removing");
  expect(decidePhase(removing, SECOND, { from: "waited", to: "switched", at: AT }).kind).toBe("refused");
  expect(decideEnd(waited, SECOND).kind).toBe("refused");
  expect([decideAt(deployed, SECOND, ["made", "deployed"]).kind, decideAt(deployed, FIRST, ["deployed"]).kind]).toEqual(
    ["done", "refused"],
  );
});

it("gives a secondary the key for transfers alone, and the primary's address with it", () => {
  const base = { address: "192.0.2.53", port: 53, zones: ["a.test"], key: null, addedAt: AT, addedBy: "x" };
  const primary = { ...base, name: "ns1", role: "primary", node: "a".repeat(16) } as DnsServer;
  const secondary = {
    ...base,
    name: "ns2",
    role: "secondary",
    address: "192.0.2.54",
    node: "b".repeat(16),
  } as DnsServer;
  const strange = { ...secondary, name: "ns3", address: "192.0.2.55", node: null };
  const ring: KeyRing = { ...NO_KEYS, keys: { node: "n", vm: "v", transfer: "t" } };
  const secretOf = (name: string) => ({ name, algorithm: "hmac-sha256" as const, secret: "c2VjcmV0" });
  const all = [primary, secondary, strange];
  const [first, second] = [primary, secondary].map((server) => keysFileOf(server, all, ring, "old", secretOf));

  expect(first?.keys.map(({ name }) => name)).toEqual(["n", "v", "t"]);
  expect(second?.keys.map(({ name }) => name)).toEqual(["t"]);
  expect(second?.acls.map(({ keys }) => keys)).toEqual([[], [], ["t"]]);
  expect(second?.lists).toEqual([
    { name: "debvisor-primaries", servers: [{ address: "192.0.2.53", port: 53, key: "t" }] },
    { name: "debvisor-secondaries", servers: [] },
  ]);
  expect(first?.lists[1]?.servers).toEqual([
    { address: "192.0.2.54", port: 53, key: "t" },
    { address: "192.0.2.55", port: 53, key: null },
  ]);
});
