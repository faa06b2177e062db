// SPDX-License-Identifier: Apache-2.0
/** Waiting, on a clock of its own. */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Clock } from "./clock.ts";
import { waitFor } from "./wait.ts";

/** A clock whose time is what was slept; an aborted signal ends a sleep at once, as the real one does. */
function sleepingClock(): Clock {
  let time = 0;
  return {
    now: () => time,
    monotonic: () => time,
    sleep: async (ms, signal) => {
      if (signal?.aborted !== true) time += ms;
      await Promise.resolve();
    },
  };
}

test("returns what the condition found and reports the time left", async () => {
  const clock = sleepingClock();
  const left: number[] = [];
  let looks = 0;

  const value = await waitFor(() => (++looks === 3 ? "there" : undefined), {
    what: "it",
    timeoutMs: 1_000,
    intervalMs: 100,
    onWait: (ms) => left.push(ms),
    clock,
  });

  expect(value).toBe("there");
  expect(left).toEqual([1_000, 900]);
});

test("throws what the condition throws, at once", async () => {
  const failing = waitFor(() => Promise.reject(new Error("broken")), {
    what: "it",
    timeoutMs: 1_000,
    intervalMs: 1,
    clock: sleepingClock(),
  });

  await expect(failing).rejects.toThrow("broken");
});

test("ends with the signal, and says so", async () => {
  const stop = new AbortController();
  const waiting = waitFor(
    () => {
      stop.abort();
      return undefined;
    },
    { what: "it", timeoutMs: 60_000, intervalMs: 10, signal: stop.signal },
  );

  await expect(waiting).rejects.toMatchObject({ code: "TIMEOUT", details: { aborted: true } });
});

test("looks once more at the limit and never after it", async () => {
  const time = fc.integer({ min: 0, max: 10_000 });
  await fc.assert(
    fc.asyncProperty(time, fc.integer({ min: 1, max: 3_000 }), async (timeoutMs, intervalMs) => {
      const clock = sleepingClock();
      const looks: number[] = [];

      const waiting = waitFor(() => void looks.push(clock.monotonic()), { what: "it", timeoutMs, intervalMs, clock });

      await expect(waiting).rejects.toMatchObject({ code: "TIMEOUT", details: { timeoutMs } });
      expect(looks.at(-1)).toBe(timeoutMs);
    }),
    { numRuns: 50 },
  );
});
