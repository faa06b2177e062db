// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { ReconnectDelay } from "./reconnect-delay.ts";

const waits = (delay: ReconnectDelay, refusals: number) =>
  Array.from({ length: refusals }, () => {
    delay.refused();
    return delay.next();
  });

test("a server that is down is tried again within 0.3 s, however often", () => {
  expect(new ReconnectDelay(() => 0).next()).toBe(100);
  expect(new ReconnectDelay(() => 1).next()).toBe(300);
});

test("one that refuses is tried half as often after each refusal, at last each 10 s", () => {
  expect(waits(new ReconnectDelay(() => 0.5), 8)).toEqual([200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
  expect(waits(new ReconnectDelay(() => 0), 1)).toEqual([150]);
  expect(waits(new ReconnectDelay(() => 1), 8).at(-1)).toBe(12_500);
});

test("a connection that stands makes it forget the refusals; only the first since then is news", () => {
  const delay = new ReconnectDelay(() => 0);
  expect([delay.refused(), delay.refused()]).toEqual([true, false]);

  delay.connected();

  expect(delay.next()).toBe(100);
  expect(delay.refused()).toBe(true);
});
