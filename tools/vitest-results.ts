// SPDX-License-Identifier: Apache-2.0
/**
 * Vitest reporter that writes what `npm test` counts, as JSON, to the file named by DV_TEST_RESULTS. Vitest's own JSON
 * reporter leaves out the reason of a skip, the time of a file, and errors outside of any test.
 */
import { writeFileSync } from "node:fs";
import path from "node:path";
import type { Reporter, TestCase, TestModule, TestRunEndReason } from "vitest/node";
import { ROOT } from "./paths.ts";
import type { FileResult, RunResults, TestOutcome } from "./test-report.ts";

export default class ResultsReporter implements Reporter {
  readonly #started = new Map<string, number>();
  readonly #elapsedMs = new Map<string, number>();

  onTestModuleQueued(module: TestModule): void {
    this.#started.set(module.id, performance.now());
  }

  onTestModuleEnd(module: TestModule): void {
    this.#elapsedMs.set(module.id, performance.now() - (this.#started.get(module.id) ?? performance.now()));
  }

  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[], reason: TestRunEndReason): void {
    const target = process.env["DV_TEST_RESULTS"];
    if (target === undefined) return;
    const results: RunResults = {
      files: modules.map((module) => this.#describe(module)),
      unhandledErrors: unhandledErrors.length,
      interrupted: reason === "interrupted",
    };
    writeFileSync(target, JSON.stringify(results));
  }

  #describe(module: TestModule): FileResult {
    const suites = [module, ...module.children.allSuites()];
    return {
      file: path.relative(ROOT, module.moduleId),
      seconds: (this.#elapsedMs.get(module.id) ?? 0) / 1000,
      failed: !module.ok(),
      errors: suites.reduce((sum, suite) => sum + suite.errors().length, 0),
      tests: [...module.children.allTests()].map(describeTest),
    };
  }
}

function describeTest(test: TestCase): TestOutcome {
  const result = test.result();
  const note = result.state === "skipped" ? result.note : undefined;
  // A test that never ended (its worker died) proves nothing.
  const state = result.state === "pending" ? "failed" : result.state;
  return { name: test.fullName, state, ...(note === undefined ? {} : { note }) };
}
