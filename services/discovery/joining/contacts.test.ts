// SPDX-License-Identifier: Apache-2.0
import { type Clock, systemClock } from "@debvisor/shared/clock";
import type { JoinChannel } from "@debvisor/shared/join/channel";
import { createLogger } from "@debvisor/shared/log";
import { expect, test } from "vitest";
import { Contacts } from "./contacts.ts";

const PORT = 8422;
const ROUND_MS = 50;

class TestClock implements Clock {
  ms = 0;
  readonly sleep = systemClock.sleep;
  now = () => 0;
  monotonic = () => this.ms;
}

/** Contacts under a clock of their own, and who is being dialled: `end` has that come to nothing, or to a proof. */
function bench() {
  const clock = new TestClock();
  const open = new Map<string, { fail: () => void; prove: () => void }>();
  const dialled: { readonly at: number; readonly place: string }[] = [];
  let [most, twice] = [0, 0];
  const contacts = new Contacts({
    self: "a".repeat(16),
    dial: (host, port) => {
      const place = `${host}:${port}`;
      if (open.has(place)) twice++;
      dialled.push({ at: clock.ms, place });
      return new Promise<JoinChannel>((resolve, reject) => {
        const end = (how: () => void) => () => {
          open.delete(place);
          how();
        };
        open.set(place, {
          fail: end(() => reject(new Error("nobody is there"))),
          prove: end(() => resolve({ peer: { id: place }, close: () => undefined } as JoinChannel)),
        });
        most = Math.max(most, open.size);
      });
    },
    onChannel: () => undefined,
    log: createLogger({ level: "silent" }),
    clock,
  });
  const round = async (how: "fail" | "prove" = "fail") => {
    contacts.dialDue();
    contacts.dialDue();
    for (const one of [...open.values()]) one[how]();
    await new Promise(setImmediate);
    clock.ms += ROUND_MS;
  };
  return { contacts, clock, open, dialled, round, counts: () => [most, twice] };
}

/** Most dials that began within any second. */
function mostInASecond(dialled: readonly { readonly at: number }[]): number {
  return Math.max(...dialled.map(({ at }) => dialled.filter((one) => one.at >= at && one.at < at + 1_000).length));
}

test("of ten thousand places 64 are remembered, eight dialled at once and none twice; a preseeded one stays", async () => {
  const { contacts, dialled, round, counts } = bench();
  contacts.add("preseeded", PORT, true);
  for (let n = 0; n < 10_000; n++) contacts.add(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`, PORT);

  // Nobody answers: what is dialled comes to nothing, and all the others get their turn.
  for (let turn = 0; turn < 400; turn++) await round();
  contacts.close();

  expect(counts()).toEqual([8, 0]);
  const places = new Set(dialled.map(({ place }) => place));
  expect(places.size).toBe(64);
  expect(places).toContain(`preseeded:${PORT}`);
});

test("what mDNS alone has named is dialled 20 times at once and then five times a second, one place of an address at a time", async () => {
  const { contacts, clock, open, dialled, round } = bench();
  for (let n = 0; n < 64; n++) contacts.add(`10.0.0.${n}`, PORT);

  for (let turn = 0; turn < 20; turn++) await round();
  const first = dialled.length;
  for (let turn = 0; turn < 400; turn++) await round();
  const later = dialled.slice(first);

  expect(first).toBeLessThanOrEqual(20 + 5);
  expect(mostInASecond(later)).toBeLessThanOrEqual(5);
  expect(later.length).toBeGreaterThanOrEqual(99);
  contacts.close();

  const one = bench();
  for (let port = 1; port <= 10; port++) one.contacts.add("10.0.0.1", port);
  one.contacts.dialDue();
  expect(one.open.size).toBe(1);
  expect([open.size, clock.ms]).toEqual([0, 420 * ROUND_MS]);
});

test("a new place is dialled within 200 ms while all the others use up the rate", async () => {
  const { contacts, clock, dialled, round } = bench();
  for (let turn = 0; turn < 100; turn++) {
    contacts.add(`10.0.0.${turn}`, PORT);
    await round();
  }
  // Nobody has had time to dial the last ones: most of twenty a second wait.
  const added = clock.ms;
  contacts.add("10.0.1.1", PORT);
  for (let turn = 0; turn < 5; turn++) await round();

  const found = dialled.find(({ place }) => place === `10.0.1.1:${PORT}`);
  expect(found?.at).toBeGreaterThanOrEqual(added);
  expect(found?.at).toBeLessThanOrEqual(added + 200);
});

test("a preseeded place, and one where a machine has proved itself, do not wait for the rate", async () => {
  const { contacts, clock, open, dialled, round } = bench();
  contacts.add("member", PORT);
  await round("prove");
  const [channel] = contacts.channels();
  for (let n = 0; n < 60; n++) contacts.add(`10.0.0.${n}`, PORT);
  for (let turn = 0; turn < 60; turn++) await round();

  // The rate is used up: nothing else can be dialled in this round.
  contacts.dialDue();
  for (const one of [...open.values()]) one.fail();
  await new Promise(setImmediate);
  contacts.add("preseeded", PORT, true);
  if (channel) contacts.drop(channel);
  const dropped = clock.ms;
  for (let turn = 0; turn < 4; turn++) await round();

  const since = (place: string) => dialled.find((one) => one.place === `${place}:${PORT}` && one.at >= dropped)?.at;
  expect(since("preseeded")).toBe(dropped);
  expect(since("member")).toBeLessThanOrEqual(dropped + 100);
  contacts.close();
});
