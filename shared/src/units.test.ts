// SPDX-License-Identifier: Apache-2.0
/** Sizes, durations and ages. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DAY_MS, formatAge, formatBytes, formatDuration, GiB, parseBytes, parseDuration } from "./units.ts";

describe("sizes", () => {
  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1.0 KiB"],
    [1536, "1.5 KiB"],
    [1024 * 1024 - 1, "1.0 MiB"],
    [16 * GiB, "16.0 GiB"],
    [123_456, "121 KiB"],
    [-2048, "-2.0 KiB"],
  ])("%d is written %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  it.each([
    ["4096", 4096],
    ["1.5GiB", 1.5 * GiB],
    ["512m", 512 * 1024 * 1024],
    ["1 KB", 1024],
    ["x", undefined],
    ["1.5.5", undefined],
    ["-1", undefined],
  ])("%s is read as %s", (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes);
  });
});

describe("durations", () => {
  it.each([
    ["5", 5_000],
    ["500ms", 500],
    ["2m", 120_000],
    ["1h30m", 5_400_000],
    ["7d", 7 * DAY_MS],
    ["", undefined],
    ["5x", undefined],
    ["-5", undefined],
  ])("%s is read as %s", (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  it.each([
    [12, "12ms"],
    [1_500, "1.5s"],
    [42_000, "42s"],
    [90_061_000, "1d 1h"],
    [3_600_000, "1h"],
    [-1_500, "-1.5s"],
  ])("%d ms is written %s", (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });

  it("are read back within a tenth of what was written", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 400 * DAY_MS }), (ms) => {
        const read = parseDuration(formatDuration(ms).replaceAll(" ", ""));
        expect(Math.abs((read ?? Number.NaN) - ms)).toBeLessThanOrEqual(ms / 10 + 500);
      }),
    );
  });

  it("of the past are ages, and a clock that is ahead is now", () => {
    const now = Date.parse("2026-01-01T00:01:00Z");
    expect(formatAge("2026-01-01T00:00:48Z", now)).toBe("12s ago");
    expect(formatAge("2026-01-01T00:02:00Z", now)).toBe("now");
    expect(formatAge("never", now)).toBe("never");
  });
});
