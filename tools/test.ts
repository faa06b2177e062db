// SPDX-License-Identifier: Apache-2.0
/**
 * `npm test -- [--no-install] [--soak] [path…]`: everything this machine can run. Installs what the suites need, fetches
 * nats-server, runs lint and types (not with a path filter) and all test projects. The last line is always
 * `N passed, N failed, N skipped`; the exit code is 0 only if nothing failed.
 */
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { locateNatsServer } from "@debvisor/shared/nats-server/locate";
import { NATS_CACHE_DIR, ROOT } from "./paths.ts";
import { LINT, runStep, TYPES, vitest } from "./steps.ts";
import { lastLine, type RunResults, skipLines, slowestFiles, type Tally, tally } from "./test-report.ts";
import { ensureRequirements } from "./test-requirements.ts";

const MINUTE_MS = 60_000;

const { values: options, positionals: filters } = parseArgs({
  allowPositionals: true,
  allowNegative: true,
  options: { install: { type: "boolean", default: true }, soak: { type: "boolean", default: false } },
});

const failedSteps: string[] = [];
await ensureRequirements(filters, options);
const natsServer = await findNatsServer();
if (filters.length === 0) {
  for (const step of [LINT, TYPES]) {
    if (!(await runStep(step)).passed) failedSteps.push(`${step.name} failed`);
  }
}
const { results, passed: vitestPassed } = await runTests();
const counts = tally(results, { failedSteps, vitestPassed, allowedSkips: await allowedSkips() });
report(results, counts);
process.exitCode = counts.failed === 0 ? 0 : 1;

async function findNatsServer(): Promise<string | undefined> {
  try {
    const log = (line: string): void => console.log(`[INFO] ${line}`);
    const server = await locateNatsServer({ cacheDir: NATS_CACHE_DIR, fetch: true, log });
    console.log(`[INFO] nats-server ${server.version}: ${server.path}`);
    return server.path;
  } catch (error) {
    failedSteps.push(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

async function runTests(): Promise<{ results: RunResults | undefined; passed: boolean }> {
  const folder = await mkdtemp(path.join(tmpdir(), "debvisor-test-"));
  const file = path.join(folder, "results.json");
  try {
    const step = vitest(["--reporter=default", "--reporter=./tools/vitest-results.ts", ...filters], {
      env: {
        DV_TEST_RESULTS: file,
        ...(natsServer === undefined ? {} : { NATS_SERVER: natsServer }),
        ...(options.soak ? { DV_SOAK: "1" } : {}),
      },
      timeoutMs: (options.soak ? 360 : 40) * MINUTE_MS,
    });
    const { passed } = await runStep(step);
    return { results: existsSync(file) ? JSON.parse(await readFile(file, "utf8")) : undefined, passed };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** In CI a test may be skipped only for a reason on the committed list. */
async function allowedSkips(): Promise<string[] | undefined> {
  if (process.env["CI"] !== "true") return undefined;
  const list: { reason: string }[] = JSON.parse(await readFile(path.join(ROOT, "test", "allowed-skips.json"), "utf8"));
  return list.map((entry) => entry.reason);
}

function report(found: RunResults | undefined, outcome: Tally): void {
  const print = (title: string, lines: readonly string[]): void => {
    if (lines.length > 0) console.log(`\n${title}\n${lines.join("\n")}`);
  };
  print("Slowest files", found === undefined ? [] : slowestFiles(found, 15));
  print("Skipped tests", skipLines(outcome.skips));
  print(
    "Failures that are no failed test",
    outcome.problems.map((problem) => `  ${problem}`),
  );
  console.log(`\n${lastLine(outcome)}`);
}
