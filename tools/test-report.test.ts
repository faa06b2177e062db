// SPDX-License-Identifier: Apache-2.0
/** The counting rules of `npm test`. */
import { describe, expect, it } from "vitest";
import { type FileResult, lastLine, type RunResults, slowestFiles, tally } from "./test-report.ts";

const clean = { failedSteps: [], vitestPassed: true, allowedSkips: undefined };

function file(overrides: Partial<FileResult> = {}): FileResult {
  return {
    file: "a.test.ts",
    seconds: 1,
    failed: false,
    errors: 0,
    tests: [{ name: "works", state: "passed" }],
    ...overrides,
  };
}

function run(files: readonly FileResult[], overrides: Partial<RunResults> = {}): RunResults {
  return { files, unhandledErrors: 0, interrupted: false, ...overrides };
}

describe("tally", () => {
  it("counts passed, failed and skipped tests", () => {
    const tests = [
      { name: "a", state: "passed" },
      { name: "b", state: "failed" },
      { name: "c", state: "skipped", note: "needs /dev/kvm" },
    ] as const;

    const counts = tally(run([file({ tests, failed: true })]), { ...clean, vitestPassed: false });

    expect(lastLine(counts)).toBe("1 passed, 1 failed, 1 skipped");
    expect(counts.skips).toMatchObject([{ name: "c", reason: "needs /dev/kvm", allowed: true }]);
  });

  it.each([
    ["a failed lint step", run([file()]), { ...clean, failedSteps: ["biome failed"] }],
    [
      "a file that does not load",
      run([file({ failed: true, errors: 2, tests: [] })]),
      { ...clean, vitestPassed: false },
    ],
    ["unhandled errors", run([file()], { unhandledErrors: 3 }), { ...clean, vitestPassed: false }],
    ["an interrupted run", run([file()], { interrupted: true }), { ...clean, vitestPassed: false }],
    ["no results at all", undefined, { ...clean, vitestPassed: false }],
    ["no results although vitest ended well", undefined, clean],
    ["an exit code without an explanation", run([file()]), { ...clean, vitestPassed: false }],
  ])("counts %s as one failure", (_title, results, judgement) => {
    expect(tally(results, judgement)).toMatchObject({ failed: 1 });
  });

  it("counts a skip as a failure unless its reason is allowed", () => {
    const tests = [
      { name: "a", state: "skipped", note: "needs /dev/kvm" },
      { name: "b", state: "skipped" },
      { name: "relays [needs avahi-daemon]", state: "skipped" },
    ] as const;

    const counts = tally(run([file({ tests })]), { ...clean, allowedSkips: ["needs /dev/kvm"] });

    expect(lastLine(counts)).toBe("0 passed, 2 failed, 1 skipped");
    expect(counts.skips.map((skip) => skip.reason)).toEqual([
      "needs /dev/kvm",
      "no reason given",
      "needs avahi-daemon",
    ]);
  });
});

describe("slowestFiles", () => {
  it("puts the slowest first and keeps to the limit", () => {
    const files = [
      file({ file: "fast", seconds: 0.1 }),
      file({ file: "slow", seconds: 9 }),
      file({ file: "middle", seconds: 2 }),
    ];

    const lines = slowestFiles(run(files), 2);

    expect(lines.map((line) => line.trim().split(/\s+/)[2])).toEqual(["slow", "middle"]);
  });
});
