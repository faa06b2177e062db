// SPDX-License-Identifier: Apache-2.0
/** The steps that `npm run check` and `npm test` share: each runs one tool of the repository, shows its output and its time. */
import path from "node:path";
import { execa } from "execa";
import { ROOT } from "./paths.ts";

/** What became of a step. */
export interface StepResult {
  readonly name: string;
  readonly passed: boolean;
  readonly seconds: number;
}

/** A tool of node_modules with its arguments; it always runs on this process's Node. */
export interface Step {
  readonly name: string;
  readonly script: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

const colors = process.stdout.isTTY ? [] : ["--colors=off"];

/** Lint and format of the whole repository. */
export const LINT: Step = {
  name: "biome",
  script: "node_modules/@biomejs/biome/bin/biome",
  args: ["ci", "--max-diagnostics=100", ...colors],
};

/** Types of the whole repository. */
export const TYPES: Step = {
  name: "tsc",
  script: "node_modules/typescript/bin/tsc",
  args: ["--project", "tsconfig.json"],
};

/** Vitest, run once. */
export function vitest(args: readonly string[], options: Pick<Step, "env" | "timeoutMs"> = {}): Step {
  return { name: "vitest", script: "node_modules/vitest/vitest.mjs", args: ["run", ...args], ...options };
}

/** Runs a step with its output shown as it comes, and prints one line with its time. Never throws. */
export async function runStep(step: Step): Promise<StepResult> {
  console.log(`== ${step.name}`);
  const started = performance.now();
  const result = await execa(process.execPath, [path.join(ROOT, step.script), ...step.args], {
    cwd: ROOT,
    stdio: ["ignore", "inherit", "inherit"],
    reject: false,
    ...(step.env === undefined ? {} : { env: step.env }),
    ...(step.timeoutMs === undefined ? {} : { timeout: step.timeoutMs }),
  });
  const seconds = (performance.now() - started) / 1000;
  const outcome = result.timedOut ? "stopped: took too long" : result.failed ? "failed" : "ok";
  console.log(`== ${step.name}: ${outcome} (${seconds.toFixed(1)} s)`);
  return { name: step.name, passed: !result.failed, seconds };
}
