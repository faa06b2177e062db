// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { expect, test } from "vitest";
import { TokenBucket } from "./token-bucket.ts";

test("a bucket never gives more than its burst and the refill, whatever the times", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 50 }),
      fc.integer({ min: 1, max: 60_000 }),
      fc.array(fc.integer({ min: 0, max: 5_000 }), { maxLength: 200 }),
      (burst, everyMs, pauses) => {
        const bucket = new TokenBucket({ burst, everyMs }, 0);
        let now = 0;
        let taken = 0;
        for (const pause of pauses) {
          now += pause;
          if (bucket.take(now) === 0) taken++;
        }
        expect(taken).toBeLessThanOrEqual(burst + now / everyMs + 1e-6);
      },
    ),
  );
});

test("a bucket gives again after the time that it named", () => {
  const bucket = new TokenBucket({ burst: 2, everyMs: 30_000 }, 0);
  bucket.take(0);
  bucket.take(0);
  const wait = bucket.take(0);

  expect(wait).toBe(30_000);
  expect(bucket.take(wait - 1)).toBeGreaterThan(0);
  expect(bucket.take(wait)).toBe(0);
});

test("a burst of 0 is no limit", () => {
  const bucket = new TokenBucket({ burst: 0, everyMs: 1_000 }, 0);

  expect(Array.from({ length: 100 }, () => bucket.take(0))).toEqual(Array(100).fill(0));
});
