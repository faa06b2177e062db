// SPDX-License-Identifier: Apache-2.0
/** What of mDNS reaches the event stream. */
import type { Sighting } from "@debvisor/proto-events/discovery";
import fc from "fast-check";
import { expect, test } from "vitest";
import { MAX_PEERS, Peers } from "./peers.ts";

function sighting(instance: string, more: Partial<Sighting> = {}): Sighting {
  const rest = { name: "n", addresses: ["10.0.0.1"], port: 1, role: "worker", status: "ready", version: "1" };
  return { instance, ...rest, member: "yes", seenAt: "2026-01-01T00:00:00.000Z", ...more };
}

const names = (facts: readonly { event: string }[]) => facts.map(({ event }) => event);

test("announces a peer once, its change, and its end", () => {
  const peers = new Peers(0);
  peers.present(sighting("a"));
  expect(names(peers.take(0))).toEqual(["peer.seen"]);
  peers.present(sighting("a", { seenAt: "2026-01-01T00:00:09.000Z" }));
  expect(peers.take(1000)).toEqual([]);
  peers.present(sighting("a", { status: "leaving" }));
  expect(names(peers.take(2000))).toEqual(["peer.updated"]);
  peers.absent("a");
  expect(names(peers.take(3000))).toEqual(["peer.gone"]);
  expect(peers.size).toBe(0);
});

test("a peer that comes and goes before it was announced costs nothing", () => {
  const peers = new Peers(0);
  peers.present(sighting("a"));
  peers.absent("a");

  expect(peers.take(1000)).toEqual([]);
  expect(peers.size).toBe(0);
});

test("a member takes a stranger's place when the ledger is full", () => {
  const peers = new Peers(0);
  for (let n = 0; n < 100; n++) peers.present(sighting(`stranger-${n}`, { member: "foreign" }));
  peers.present(sighting("member"));

  expect(peers.size).toBe(MAX_PEERS);
  expect(peers.ignored).toBe(36);
  expect(peers.take(0)[0]?.peer.instance).toBe("member");
});

test("a flood of strangers yields 16 events and then one in five seconds", () => {
  const peers = new Peers(0);
  let published = 0;
  for (let ms = 0; ms < 60_000; ms += 100) {
    for (let n = 0; n < 20; n++) peers.present(sighting(`s-${ms}-${n}`, { member: "foreign" }));
    published += peers.take(ms).length;
  }

  expect(published).toBeLessThanOrEqual(16 + 12);
  expect(peers.size).toBeLessThanOrEqual(MAX_PEERS);
});

test("whatever happens, events stay within burst and rate, and the ledger within its bound", () => {
  const step = fc.record({
    ms: fc.nat({ max: 400 }),
    instance: fc.integer({ min: 0, max: 80 }).map(String),
    status: fc.constantFrom(undefined, "ready", "leaving"),
    member: fc.constantFrom<Sighting["member"]>("yes", "foreign"),
    fails: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300, size: "max" }), (steps) => {
      const peers = new Peers(0);
      const times: number[] = [];
      let now = 0;
      for (const { ms, instance, status, member, fails } of steps) {
        now += ms;
        if (status) peers.present(sighting(instance, { status, member }));
        else peers.absent(instance);
        const facts = peers.take(now);
        times.push(...facts.map(() => now));
        for (const fact of fails ? facts : []) peers.giveBack(fact);
        expect(peers.size).toBeLessThanOrEqual(MAX_PEERS + 5);
      }
      for (const [at, time] of times.entries()) {
        expect(times.slice(at).filter((other) => other - time < 1000).length).toBeLessThanOrEqual(10);
      }
    }),
  );
});

test("what could not be published is decided anew", () => {
  const peers = new Peers(0);
  peers.present(sighting("a"));
  const [seen] = peers.take(0);
  if (seen) peers.giveBack(seen);
  expect(names(peers.take(1000))).toEqual(["peer.seen"]);
  peers.absent("a");
  const [gone] = peers.take(2000);
  if (gone) peers.giveBack(gone);
  expect(names(peers.take(3000))).toEqual(["peer.gone"]);
});
