// SPDX-License-Identifier: Apache-2.0
import { errors } from "@nats-io/nats-core";
import { expect, test } from "vitest";
import { DvError } from "../errors.ts";
import { CorePatience } from "./core-patience.ts";
import { busError } from "./wire.ts";

/** A service that is there from `since` on, by a clock on which a request takes 10 ms and a pause as long as it should. */
function rig(since: number) {
  let time = 0;
  const sleep = (ms: number) => {
    time += ms;
    return Promise.resolve();
  };
  const patience = new CorePatience({ now: () => time, monotonic: () => time, sleep });
  const left: number[] = [];
  const request = async (timeoutMs: number) => {
    left.push(timeoutMs);
    await sleep(10);
    if (time < since) throw busError(new errors.NoRespondersError("rpc.core.x"), "x");
    return "here";
  };
  return {
    time: () => time,
    sleep,
    left,
    ask: (timeoutMs: number) => patience.send("x", timeoutMs, request),
    patience,
  };
}

const unavailable = expect.objectContaining({ code: "UNAVAILABLE" });

test("who is there soon is waited for, and a try never has more time than is left", async () => {
  const { ask, left, time } = rig(1_000);

  expect(await ask(5_000)).toBe("here");

  expect(time()).toBeLessThan(1_250);
  expect(left.slice(0, 4)).toEqual([5_000, 4_940, 4_830, 4_620]);
});

test("nobody waits longer than half of the time, nor than 3 s", async () => {
  for (const [timeoutMs, waited] of [
    [2_000, 1_000],
    [60_000, 3_000],
  ] as const) {
    const { ask, time } = rig(Number.POSITIVE_INFINITY);

    await expect(ask(timeoutMs)).rejects.toEqual(unavailable);

    expect(time()).toBeGreaterThanOrEqual(waited);
    expect(time()).toBeLessThan(waited + 250);
  }
});

test("who was waited for in vain is not waited for during ten seconds, but heard", async () => {
  const { ask, time, sleep } = rig(20_000);
  await expect(ask(60_000)).rejects.toEqual(unavailable);

  const before = time();
  await expect(ask(60_000)).rejects.toEqual(unavailable);
  expect(time() - before).toBe(10);

  await sleep(10_000);
  await expect(ask(60_000)).rejects.toEqual(unavailable);
  expect(time() - before).toBeGreaterThan(13_000);
  await sleep(5_000);
  expect(await ask(60_000)).toBe("here");
});

test("who has more time than those who waited in vain waits on for the rest of it", async () => {
  const { ask, time } = rig(2_500);
  await expect(ask(2_000)).rejects.toEqual(unavailable);
  const before = time();
  await expect(ask(2_000)).rejects.toEqual(unavailable);
  expect(time() - before).toBe(10);

  expect(await ask(60_000)).toBe("here");
});

test("a try has something left of a short time", async () => {
  const { ask, left } = rig(Number.POSITIVE_INFINITY);

  await expect(ask(320)).rejects.toEqual(unavailable);

  expect(Math.min(...left)).toBeGreaterThanOrEqual(80);
});

test("an error that somebody answered is passed on at once", async () => {
  const { patience, time } = rig(0);
  const busy = new DvError("UNAVAILABLE", "The engine still waits for the locks.");

  await expect(patience.send("x", 5_000, () => Promise.reject(busy))).rejects.toBe(busy);

  expect(time()).toBe(0);
});
