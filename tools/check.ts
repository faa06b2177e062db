// SPDX-License-Identifier: Apache-2.0
/** `npm run check`: the fast gate. Lint, types, unit, contract and repository tests; stops at the first that fails. */
import { LINT, runStep, type StepResult, TYPES, vitest } from "./steps.ts";

const results: StepResult[] = [];
for (const step of [LINT, TYPES, vitest(["--project", "unit", "--project", "repo"])]) {
  const result = await runStep(step);
  results.push(result);
  if (!result.passed) {
    process.exitCode = 1;
    break;
  }
}
const total = results.reduce((sum, result) => sum + result.seconds, 0);
const parts = results.map((result) => `${result.name} ${result.seconds.toFixed(1)} s`);
console.log(`check ${process.exitCode === 1 ? "failed" : "passed"} in ${total.toFixed(1)} s: ${parts.join(", ")}`);
