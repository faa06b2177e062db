// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from "vitest";
import { fileDiff, MAX_DIFF_OUTPUT } from "./file-diff.ts";

const bytes = (text: string) => Buffer.from(text);

describe("the diff of a file", () => {
  it("is a unified diff that patch(1) can read", () => {
    expect(fileDiff("/etc/motd", bytes("a\nb\nc\n"), bytes("a\nB\nc\n"))).toBe(
      "--- a/etc/motd\n+++ b/etc/motd\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n",
    );
  });

  it("says /dev/null for a file that is not there", () => {
    expect(fileDiff("/etc/motd", undefined, bytes("a\n"))).toMatch(/^--- \/dev\/null\n\+\+\+ b\/etc\/motd\n@@/);
    expect(fileDiff("/etc/motd", bytes("a\n"), undefined)).toMatch(/^--- a\/etc\/motd\n\+\+\+ \/dev\/null\n@@/);
  });

  it.each([
    ["equal contents", bytes("a"), bytes("a")],
    ["a content with NUL", bytes("a\0"), bytes("b")],
    ["a content that is no UTF-8", Buffer.from([0xff, 0xfe]), bytes("b")],
    ["a content above 64 KiB", Buffer.alloc(64 * 1024 + 1, "a"), bytes("b")],
  ])("is null for %s", (_what, before, after) => {
    expect(fileDiff("/etc/motd", before, after)).toBeNull();
  });

  it("is cut after a whole line below 16 KiB and says how much is missing", () => {
    const diff = fileDiff("/f", bytes("a line of some length\n".repeat(2_000)), bytes("another one\n".repeat(2_000)));

    expect(Buffer.byteLength(diff ?? "")).toBeLessThanOrEqual(MAX_DIFF_OUTPUT);
    expect(diff).toMatch(/\n[-+].*\n\\ \d+ bytes of the diff are left out\n$/);
  });

  it("cuts a single long line between characters", () => {
    const diff = fileDiff("/f", undefined, bytes("ä".repeat(20_000)));

    expect(Buffer.byteLength(diff ?? "")).toBeLessThanOrEqual(MAX_DIFF_OUTPUT);
    expect(diff).not.toContain("\ufffd");
  });

  it("gives up the search for the shortest diff of two large different texts", () => {
    const [before, after] = ["a", "b"].map((sign) =>
      bytes(Array.from({ length: 16_000 }, (_, i) => `${sign}${i % 97}\n`).join("")),
    );
    const startedAt = performance.now();

    expect(fileDiff("/f", before, after)).toMatch(/^--- a\/f\n\+\+\+ b\/f\n@@ -1,16000 \+1,16000 @@\n-a0\n/);
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });
});
