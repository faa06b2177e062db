// SPDX-License-Identifier: Apache-2.0
/**
 * Turns the results of a test run into what `npm test` prints: the slowest files, every skipped test with its reason,
 * and the counts of the last line. Pure, so that the counting rules have tests of their own.
 */

/** One test of a file. `note` is the text given to `ctx.skip()`. */
export interface TestOutcome {
  readonly name: string;
  readonly state: "passed" | "failed" | "skipped";
  readonly note?: string;
}

/** One test file. `errors` counts what went wrong outside of tests: a file that does not load, a hook that throws. */
export interface FileResult {
  readonly file: string;
  readonly seconds: number;
  readonly failed: boolean;
  readonly errors: number;
  readonly tests: readonly TestOutcome[];
}

/** What the reporter of vitest-results.ts writes. */
export interface RunResults {
  readonly files: readonly FileResult[];
  readonly unhandledErrors: number;
  readonly interrupted: boolean;
}

/** A step beside the tests that failed, such as the type check; each counts as one failure. */
export interface Judgement {
  readonly failedSteps: readonly string[];
  /** Whether vitest itself ended with exit code 0. */
  readonly vitestPassed: boolean;
  /** Reasons that may skip a test; `undefined` allows every skip (outside CI). */
  readonly allowedSkips: readonly string[] | undefined;
}

/** The counts of the last line, and what explains them. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly skips: readonly Skip[];
  /** Failures that are no failed test, one line each. */
  readonly problems: readonly string[];
}

/** A skipped test. `allowed` is false when it counts as a failure. */
export interface Skip {
  readonly file: string;
  readonly name: string;
  readonly reason: string;
  readonly allowed: boolean;
}

/**
 * Counts. A skip that is not allowed is a failure and no skip, so the three numbers always add up to the tests plus the
 * problems. A file that fails without a failed test, an unhandled error and a crash of vitest are one failure each.
 * `results` is `undefined` when vitest left none.
 */
export function tally(results: RunResults | undefined, judgement: Judgement): Tally {
  const files = results?.files ?? [];
  const tests = files.flatMap((file) => file.tests);
  const skips = files.flatMap((file) => skipsOf(file, judgement.allowedSkips));
  const refused = skips.filter((skip) => !skip.allowed).length;
  const failedTests = tests.filter((test) => test.state === "failed").length;
  const problems = [...judgement.failedSteps, ...files.flatMap(problemsOfFile), ...problemsOfRun(results)];
  if (!judgement.vitestPassed && failedTests === 0 && problems.length === judgement.failedSteps.length) {
    problems.push("vitest ended with an error and no failed test");
  }
  return {
    passed: tests.filter((test) => test.state === "passed").length,
    failed: failedTests + refused + problems.length,
    skipped: skips.length - refused,
    skips,
    problems,
  };
}

/** The very last line of `npm test`. */
export function lastLine(counts: Pick<Tally, "passed" | "failed" | "skipped">): string {
  return `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`;
}

/** The slowest files, slowest first. */
export function slowestFiles(results: RunResults, limit: number): string[] {
  const sorted = [...results.files].sort((a, b) => b.seconds - a.seconds).slice(0, limit);
  return sorted.map((file) => `${file.seconds.toFixed(1).padStart(8)} s  ${file.file} (${file.tests.length} tests)`);
}

/** The skipped tests by name, with the reason, those that count as failures marked. */
export function skipLines(skips: readonly Skip[]): string[] {
  return skips.map(
    (skip) => `  ${skip.allowed ? "skipped" : "NOT ALLOWED"}: ${skip.file} > ${skip.name}: ${skip.reason}`,
  );
}

function skipsOf(file: FileResult, allowed: readonly string[] | undefined): Skip[] {
  // When a file or a hook failed, vitest marks what it did not run as skipped; the failure is already counted.
  const skipped = file.tests.filter((test) => test.state === "skipped");
  return skipped.map((test) => {
    const reason =
      test.note ?? reasonInName(test.name) ?? (file.errors > 0 ? "the file failed before it" : "no reason given");
    return { file: file.file, name: test.name, reason, allowed: allowed?.includes(reason) ?? true };
  });
}

/** A suite skipped as a whole has no note; it names what it lacks in its title: `relays events [needs avahi-daemon]`. */
function reasonInName(name: string): string | undefined {
  return /\[(needs [^\]]+)\]/.exec(name)?.[1];
}

function problemsOfFile(file: FileResult): string[] {
  if (file.errors > 0) return [`${file.file}: ${file.errors} error(s) outside of a test`];
  const explained = file.tests.some((test) => test.state === "failed");
  return file.failed && !explained ? [`${file.file}: failed without a failed test`] : [];
}

function problemsOfRun(results: RunResults | undefined): string[] {
  if (results === undefined) return ["vitest left no results"];
  return [
    ...(results.unhandledErrors > 0 ? [`${results.unhandledErrors} unhandled error(s)`] : []),
    ...(results.interrupted ? ["the run was interrupted"] : []),
  ];
}
