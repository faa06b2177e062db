// SPDX-License-Identifier: Apache-2.0
/** Real programs that stay: how each way of answering, and of not answering, looks to a driver. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { exec, SYSTEM_PATH } from "../exec.ts";
import { type LineMeaning, type StandingProgram, startStanding } from "./standing-program.ts";

const dir = mkdtempSync(path.join(tmpdir(), "debvisor-standing-"));
const started: StandingProgram[] = [];
afterAll(() => {
  for (const program of started) program.end();
  rmSync(dir, { recursive: true, force: true });
});

async function shell(script: string): Promise<StandingProgram> {
  const program = await startStanding("sh", ["-c", script]);
  started.push(program);
  return program;
}

/** Answers each line with its own process id, the line, and `end`. */
const ECHO = 'while read -r line; do echo "$$ $line"; echo end; done';
const meaning = (line: string): LineMeaning => (line === "end" ? "whole" : line === "no" ? "failed" : "more");
const asking = (input: string, timeoutMs = 5_000) => ({ input: `${input}\n`, meaning, timeoutMs });

test("is one process for every question, and each answer is that of its question", async () => {
  const echo = await shell(ECHO);

  const answers = [await echo.ask(asking("a")), await echo.ask(asking("b c"))].map(({ stdout }) => stdout.trim());

  const [pid] = answers[0]?.split(" ") ?? [];
  expect(answers).toEqual([`${pid} a\nend`, `${pid} b c\nend`]);
  expect(echo.usable).toBe(true);
});

test("answers in the shape of a run", async () => {
  const echo = await shell(ECHO);
  const run = await exec("true", [], { timeoutMs: 5_000 });

  const good = await echo.ask(asking("a"));
  const bad = await (await shell("read -r line; echo no; cat")).ask(asking("a"));

  expect(Object.keys(good).sort()).toEqual(Object.keys(run).sort());
  expect(Object.keys(bad).sort()).toEqual(Object.keys(run).sort());
  expect([good.failed, bad.failed]).toEqual([false, true]);
});

test("gets the fixed environment and nothing of ours", async () => {
  const { stdout } = await (await shell("read -r line; env; echo end; cat")).ask(asking(""));

  const names = stdout.split("\n").filter((line) => line.includes("="));
  expect(names.filter((line) => !/^(?:PWD|OLDPWD|SHLVL|_)=/.test(line)).sort()).toEqual([
    "LC_ALL=C",
    `PATH=${SYSTEM_PATH}`,
  ]);
});

test("is not used any more after a question that it does not answer in time", async () => {
  const silent = await shell("read -r line; echo half; cat >/dev/null");

  const result = await silent.ask(asking("a", 100));

  expect(result).toMatchObject({ failed: true, timedOut: true, aborted: false, stdout: "half\n" });
  expect(silent.usable).toBe(false);
  expect(await silent.ask(asking("b"))).toMatchObject({ failed: true, timedOut: false, stdout: "" });
});

test("is not used any more after a question that was given up, or whose answer says that it failed", async () => {
  const one = await shell("cat >/dev/null");
  const two = await shell("cat >/dev/null");
  const three = await shell("read -r line; echo no; cat");
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 50);

  expect(await one.ask({ ...asking("a"), signal: abort.signal })).toMatchObject({ failed: true, aborted: true });
  expect(await two.ask({ ...asking("a"), signal: AbortSignal.abort() })).toMatchObject({ failed: true, aborted: true });
  expect(await three.ask(asking("a"))).toMatchObject({ failed: true, aborted: false, stdout: "no\n" });
  expect([one, two, three].map(({ usable }) => usable)).toEqual([false, false, false]);
});

test("says how it ended when it ends instead of answering", async () => {
  const ended = await (await shell("read -r line; echo out; echo err >&2; exit 3")).ask(asking("a"));
  const killed = await (await shell("read -r line; kill -9 $$")).ask(asking("a"));

  expect(ended).toMatchObject({ failed: true, exitCode: 3, stdout: "out\n", stderr: "err\n" });
  expect(killed).toMatchObject({ failed: true, exitCode: undefined, killedBy: "SIGKILL" });
});

test("is not trusted once it says something that nobody asked for; an empty line is nothing", async () => {
  const late = await shell('read -r line; echo end; echo; sleep 0.1; echo "more"; cat');
  const polite = await shell('while read -r line; do echo "$line"; echo end; echo; done');

  await late.ask(asking("a"));
  await polite.ask(asking("a"));
  await new Promise((resolve) => setTimeout(resolve, 300));

  expect([late.usable, polite.usable]).toEqual([false, true]);
  expect((await polite.ask(asking("b"))).stdout.trim()).toBe("b\nend");
});

test("that writes more than is allowed is ended", async () => {
  const loud = await shell("read -r line; yes");

  expect(await loud.ask(asking("a"))).toMatchObject({ failed: true, outputLimited: true, timedOut: false });
  expect(loud.usable).toBe(false);
});

test("that is not installed is reported as missing, with its secrets masked", async () => {
  const missing = await startStanding("no-such-program", ["--key", "hush"], ["hush"]);

  expect(await missing.ask(asking("a"))).toMatchObject({
    ...{ failed: true, missing: true, program: "no-such-program" },
    commandLine: "no-such-program --key [masked]",
  });
});

test("neither keeps the process that started it alive nor outlives it", async () => {
  const pidFile = path.join(dir, "pid");
  const module = path.join(import.meta.dirname, "standing-program.ts");
  const script = `import { startStanding } from ${JSON.stringify(module)};
    const echo = await startStanding("sh", ["-c", 'echo $$ > ${pidFile}; ${ECHO}']);
    const meaning = (line) => (line === "end" ? "whole" : "more");
    if ((await echo.ask({ input: "a\\n", meaning, timeoutMs: 5000 })).failed) process.exitCode = 1;`;

  const result = await exec(process.execPath, ["--input-type=module", "-e", script], { timeoutMs: 10_000 });

  expect(result).toMatchObject({ failed: false, exitCode: 0 });
  const pid = readFileSync(pidFile, "utf8").trim();
  const deadline = performance.now() + 2_000;
  while (existsSync(`/proc/${pid}`) && performance.now() < deadline) await new Promise((r) => setTimeout(r, 10));
  expect(existsSync(`/proc/${pid}`)).toBe(false);
});
