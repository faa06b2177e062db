// SPDX-License-Identifier: Apache-2.0
/** Real programs, as in execa's own tests: what each way of ending looks like to a driver. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { DvError } from "./errors.ts";
import { commandLineOf, exec, execChecked, execError, SYSTEM_PATH, which } from "./exec.ts";

const sh = (script: string, options: Partial<Parameters<typeof exec>[2]> = {}) =>
  exec("sh", ["-c", script], { timeoutMs: 5_000, ...options });

test("returns output and exit status of a program that succeeds", async () => {
  const result = await exec("printf", ["%s", "a b; echo c"], { timeoutMs: 5_000 });

  expect(result).toMatchObject({
    failed: false,
    missing: false,
    timedOut: false,
    aborted: false,
    outputLimited: false,
    exitCode: 0,
  });
  expect(result.stdout).toBe("a b; echo c");
});

test("gives the program the fixed environment and nothing of ours", async () => {
  const result = await exec("env", [], { timeoutMs: 5_000, env: { EXTRA: "1" } });

  expect(result.stdout.trim().split("\n").sort()).toEqual(["EXTRA=1", "LC_ALL=C", `PATH=${SYSTEM_PATH}`]);
});

test("passes text to standard input, and an empty one otherwise", async () => {
  expect((await exec("cat", [], { timeoutMs: 5_000, input: "hello" })).stdout).toBe("hello");
  expect((await exec("cat", [], { timeoutMs: 5_000 })).stdout).toBe("");
});

test("reports a failure in the same shape as a success", async () => {
  const good = await sh("exit 0");
  const bad = await sh("echo out; echo err >&2; exit 3");

  expect(Object.keys(bad)).toEqual(Object.keys(good));
  expect(bad).toMatchObject({ failed: true, exitCode: 3, stdout: "out\n", stderr: "err\n" });
});

test("ends a program after its time even if a grandchild keeps the pipes open", async () => {
  const result = await sh("trap '' TERM; sleep 6 & sleep 6", { timeoutMs: 100 });

  expect(result).toMatchObject({ failed: true, timedOut: true, aborted: false });
  expect(result.ms).toBeLessThan(3_000);
});

test("ends a program when the caller's signal aborts", async () => {
  const result = await exec("sleep", ["6"], { timeoutMs: 5_000, signal: AbortSignal.timeout(50) });

  expect(result).toMatchObject({ failed: true, aborted: true, timedOut: false, exitCode: undefined });
});

test("starts nothing when the signal was aborted before", async () => {
  const result = await exec("sleep", ["6"], { timeoutMs: 5_000, signal: AbortSignal.abort() });

  expect(result).toMatchObject({ failed: true, aborted: true, missing: false, stdout: "" });
});

test("ends a program that writes more than the limit", async () => {
  const result = await sh("while :; do echo 0123456789; done", { maxOutputBytes: 1_000 });

  expect(result).toMatchObject({ failed: true, outputLimited: true });
  expect(result.stdout.length).toBe(1_000);
});

test("tells a missing program from a failing one", async () => {
  const missing = await execChecked("no-such-program", [], { timeoutMs: 1_000 }).catch((error: unknown) => error);
  const failing = await execChecked("false", [], { timeoutMs: 1_000 }).catch((error: unknown) => error);

  expect(missing).toBeInstanceOf(DvError);
  expect(missing).toMatchObject({ code: "TOOL_MISSING", details: { program: "no-such-program" } });
  expect(failing).toMatchObject({ code: "TOOL_FAILED", details: { program: "false", exitCode: 1, timedOut: false } });
  expect((await execChecked("true", [], { timeoutMs: 1_000 })).exitCode).toBe(0);
});

test.each([
  ["timed out", { timedOut: true }],
  ["aborted", { aborted: true }],
  ["too much output", { outputLimited: true }],
  ["killed", { killedBy: "SIGKILL", exitCode: undefined }],
  ["unknown", { exitCode: undefined }],
])("makes TOOL_FAILED of a result that is: %s", async (_title, change) => {
  const error = execError({ ...(await sh("echo last >&2; exit 1")), ...change });

  expect(error.code).toBe("TOOL_FAILED");
  expect(error.details).toMatchObject({ lastLines: ["last"], ...change });
});

test("masks secrets in the command line and in the last lines of an error", async () => {
  const result = await sh("echo the key is hunter2 >&2; exit 1", { secrets: ["hunter2", ""] });

  expect(
    commandLineOf("tool", ["--password", "p1", "--api-token=t1", "PASSWORD=x", "hunter2", "two words"], ["hunter2"]),
  ).toBe('tool --password [masked] --api-token=[masked] PASSWORD=[masked] [masked] "two words"');
  expect(result.commandLine).not.toContain("hunter2");
  expect(JSON.stringify(execError(result, ["hunter2"]).toWire())).not.toContain("hunter2");
});

test("logs one line per run, masked", async () => {
  const lines: unknown[] = [];
  await exec("true", ["--token", "abc"], {
    timeoutMs: 1_000,
    log: { debug: (fields: unknown) => void lines.push(fields) } as never,
  });

  expect(lines).toMatchObject([{ commandLine: "true --token [masked]", exitCode: 0 }]);
});

test("finds programs by name and by absolute path only", async () => {
  expect(await which("sh")).toMatch(/^\/.*\/sh$/);
  expect(await which("/bin/sh")).toBe("/bin/sh");
  expect(await which("/etc/passwd")).toBeUndefined();
  expect(await which("/usr")).toBeUndefined();
  expect(await which("../bin/sh")).toBeUndefined();
  expect(await which("")).toBeUndefined();
});

test("never shows a secret value in a command line", () => {
  fc.assert(
    fc.property(
      fc.stringMatching(/^[A-Za-z0-9]{12,24}$/),
      fc.array(fc.string(), { maxLength: 4 }),
      (secret, others) => {
        expect(commandLineOf("tool", [...others, `x${secret}y`, secret], [secret])).not.toContain(secret);
      },
    ),
    { numRuns: 50 },
  );
});
