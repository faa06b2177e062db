// SPDX-License-Identifier: Apache-2.0
/** Retrying, on a clock of its own. */
import { describe, expect, it } from "vitest";
import type { Clock } from "./clock.ts";
import { DvError } from "./errors.ts";
import { backoffMs, MAX_DELAY_MS, retry } from "./retry.ts";

function fakeClock() {
  const pauses: number[] = [];
  let time = 0;
  const clock: Clock = {
    now: () => time,
    monotonic: () => time,
    sleep: (ms) => {
      pauses.push(ms);
      time += ms;
      return Promise.resolve();
    },
  };
  return { clock, pauses };
}

const away = () => new DvError("UNAVAILABLE", "away");

describe("retrying", () => {
  it("doubles the pause up to its limit and ends with success", async () => {
    const { clock, pauses } = fakeClock();

    const value = await retry((number) => (number < 5 ? Promise.reject(away()) : Promise.resolve(number)), {
      attempts: 9,
      delayMs: 100,
      maxDelayMs: 300,
      clock,
    });

    expect(value).toBe(5);
    expect(pauses).toEqual([100, 200, 300, 300]);
  });

  it("throws the last failure when the attempts are used up", async () => {
    const { clock, pauses } = fakeClock();

    await expect(retry(() => Promise.reject(away()), { attempts: 3, delayMs: 1, clock })).rejects.toMatchObject({
      code: "UNAVAILABLE",
    });
    expect(pauses).toHaveLength(2);
  });

  it.each([
    ["a refusal", new DvError("CONFLICT", "x")],
    ["an unknown effect", new DvError("TIMEOUT", "x")],
    ["a bug", new TypeError("x")],
  ])("does not repeat %s", async (_, error) => {
    let calls = 0;
    const attempt = () => {
      calls++;
      return Promise.reject(error);
    };

    await expect(retry(attempt, { attempts: 5, delayMs: 1 })).rejects.toBe(error);
    expect(calls).toBe(1);
  });

  it("stops when it is aborted", async () => {
    await expect(
      retry(() => Promise.reject(away()), { attempts: 99, delayMs: 10_000, signal: AbortSignal.timeout(10) }),
    ).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  it("never waits longer than five minutes", () => {
    expect(backoffMs(60, 1_000)).toBe(MAX_DELAY_MS);
  });
});
