// SPDX-License-Identifier: Apache-2.0
/**
 * The one function that runs outside programs (STYLE.md B7; for those that stay: drivers/standing-program.ts): an argument array,
 * never a shell, a fixed environment, a mandatory time limit, an output limit, an abort signal, and a command line that is logged
 * with secrets masked. Success and failure have the same shape, so a driver decides on data. On node:child_process, because execa
 * costs 10 MB of memory in every process that runs one program (docs/adr/0014-child-process-instead-of-execa.md).
 */
import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import type { Readable } from "node:stream";
import { DvError } from "./errors.ts";
import { type Logger, maskSecrets } from "./log.ts";

/** Where programs are looked for. Fixed, so that a caller's environment cannot put another program in the place of ours. */
export const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const DEFAULT_OUTPUT_BYTES = 8 * 1024 * 1024;
/** Time between SIGTERM and SIGKILL, and again until we stop waiting for a pipe that a grandchild keeps open. */
const KILL_GRACE_MS = 1_000;
const SECRET_FLAG = /^--?[a-z0-9-]*(?:pass|password|passwd|secret|token|credential)$/i;
const SECRET_ASSIGNMENT = /^(-{0,2}[a-z0-9_.-]*(?:password|passwd|secret|token|credential)=).+$/i;

/** How a program is run. */
export interface ExecOptions {
  /** Longest time in milliseconds; then SIGTERM, and SIGKILL a second later. */
  readonly timeoutMs: number;
  /** Ends the program like the time limit does. */
  readonly signal?: AbortSignal | undefined;
  /** Limit of standard output and of standard error, each, in bytes; default 8 MiB. Beyond it the program is ended. */
  readonly maxOutputBytes?: number;
  /** Added to the fixed environment (`LC_ALL=C`, `PATH`). */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Text for standard input; without it standard input is empty. */
  readonly input?: string;
  /** Values that appear nowhere: neither in the command line nor in the output that goes into an error. */
  readonly secrets?: readonly string[];
  /** Gets one line per run, at level debug. */
  readonly log?: Pick<Logger, "debug">;
}

/** How a run ended. Exactly the same fields whether it succeeded or not. */
export interface ExecResult {
  /** The program as it was named. */
  readonly program: string;
  /** For people: program and arguments, secrets masked. */
  readonly commandLine: string;
  /** True unless the program ran to its end with exit status 0. */
  readonly failed: boolean;
  /** The program was not found or may not be executed. */
  readonly missing: boolean;
  readonly timedOut: boolean;
  /** The caller's signal ended it. */
  readonly aborted: boolean;
  /** It wrote more than `maxOutputBytes`; what was read until then is kept. */
  readonly outputLimited: boolean;
  /** Undefined when it was not started or ended by a signal. */
  readonly exitCode: number | undefined;
  /** Name of the signal that ended it. */
  readonly killedBy: string | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** Milliseconds from start to end. */
  readonly ms: number;
}

/** How the process itself ended. */
interface Outcome {
  readonly timedOut: boolean;
  readonly aborted: boolean;
  readonly outputLimited: boolean;
  readonly exitCode: number | undefined;
  readonly killedBy: string | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** System error of a start that failed, such as `ENOENT`. */
  readonly code: string | undefined;
}

/**
 * Absolute path of a program, searched in `SYSTEM_PATH`; an absolute path is checked as it is. Undefined when there is no
 * such file or it may not be executed. A relative path with a slash is never accepted.
 */
export async function which(binary: string): Promise<string | undefined> {
  if (isAbsolute(binary)) return (await isExecutable(binary)) ? binary : undefined;
  if (binary === "" || binary.includes("/")) return undefined;
  for (const folder of SYSTEM_PATH.split(":")) {
    const path = join(folder, binary);
    if (await isExecutable(path)) return path;
  }
  return undefined;
}

/** Runs a program to its end. Never rejects: what went wrong is in the result. */
export async function exec(program: string, args: readonly string[], options: ExecOptions): Promise<ExecResult> {
  const startedAt = performance.now();
  const commandLine = commandLineOf(program, args, options.secrets);
  const path = options.signal?.aborted ? undefined : await which(program);
  const outcome = path === undefined ? notStarted(options.signal?.aborted === true) : await run(path, args, options);
  const { code, ...ended } = outcome;
  const result: ExecResult = {
    program,
    commandLine,
    failed: ended.exitCode !== 0 || ended.timedOut || ended.aborted || ended.outputLimited,
    missing: code === "ENOENT" || code === "EACCES",
    ...ended,
    ms: performance.now() - startedAt,
  };
  options.log?.debug(
    {
      commandLine,
      exitCode: result.exitCode,
      killedBy: result.killedBy,
      timedOut: result.timedOut,
      ms: Math.round(result.ms),
    },
    "program ended",
  );
  return result;
}

/** Runs a program and returns its result only when it succeeded. @throws TOOL_MISSING, TOOL_FAILED */
export async function execChecked(program: string, args: readonly string[], options: ExecOptions): Promise<ExecResult> {
  const result = await exec(program, args, options);
  if (result.failed) throw execError(result, options.secrets);
  return result;
}

/** The error that a failed result amounts to: TOOL_MISSING or TOOL_FAILED, with the reasons and the last lines as details. */
export function execError(result: ExecResult, secrets: readonly string[] = []): DvError {
  const { program, commandLine, exitCode, killedBy, timedOut, aborted, outputLimited } = result;
  if (result.missing) return new DvError("TOOL_MISSING", `${program} is not installed.`, { details: { program } });
  const lastLines = lastLinesOf(result.stderr.trim() === "" ? result.stdout : result.stderr, 10).map((line) =>
    mask(line, secrets),
  );
  return new DvError("TOOL_FAILED", `${program} ${reasonOf(result)}.`, {
    details: { program, commandLine, exitCode, killedBy, timedOut, aborted, outputLimited, lastLines },
  });
}

/** Program and arguments in one line for people; secrets masked, arguments with other characters than usual quoted. */
export function commandLineOf(program: string, args: readonly string[], secrets: readonly string[] = []): string {
  const words = args.map((argument, index) => {
    if (index > 0 && SECRET_FLAG.test(args[index - 1] ?? "")) return "[masked]";
    const shown = mask(argument.replace(SECRET_ASSIGNMENT, "$1[masked]"), secrets);
    return /^[\w@%+=:,./[\]-]+$/.test(shown) ? shown : JSON.stringify(shown);
  });
  return [program, ...words].join(" ");
}

function mask(text: string, secrets: readonly string[]): string {
  return secrets.reduce(
    (shown, secret) => (secret === "" ? shown : shown.replaceAll(secret, "[masked]")),
    maskSecrets(text),
  );
}

function reasonOf(result: ExecResult): string {
  if (result.timedOut) return "did not end in time";
  if (result.aborted) return "was stopped because the request ended";
  if (result.outputLimited) return "wrote more than is allowed";
  if (result.killedBy !== undefined) return `was ended by ${result.killedBy}`;
  return `failed with exit status ${result.exitCode ?? "unknown"}`;
}

function lastLinesOf(text: string, count: number): string[] {
  return text.trimEnd().split("\n").slice(-count);
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    // Missing and not permitted mean the same to a caller: it cannot be run.
    return false;
  }
}

function notStarted(aborted: boolean): Outcome {
  const nothing = {
    timedOut: false,
    outputLimited: false,
    exitCode: undefined,
    killedBy: undefined,
    stdout: "",
    stderr: "",
  };
  return { ...nothing, aborted, code: aborted ? undefined : "ENOENT" };
}

/** Runs the process and resolves when it has ended and its output is read, at the latest two seconds after its time. */
function run(path: string, args: readonly string[], options: ExecOptions): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(path, [...args], {
      env: { LC_ALL: "C", PATH: SYSTEM_PATH, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      stdio: [options.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    });
    const reasons = { timedOut: false, aborted: false, outputLimited: false };
    const timers: NodeJS.Timeout[] = [];
    const after = (ms: number, action: () => void) => timers.push(setTimeout(action, ms));
    const end = (reason: keyof typeof reasons) => {
      if (reasons.timedOut || reasons.aborted || reasons.outputLimited) return;
      reasons[reason] = true;
      child.kill("SIGTERM");
      after(KILL_GRACE_MS, () => child.kill("SIGKILL"));
      // A child of the program may hold the pipes open for longer than the program lives.
      after(2 * KILL_GRACE_MS, () => [child.stdout, child.stderr].forEach((pipe) => void pipe?.destroy()));
    };
    const limit = options.maxOutputBytes ?? DEFAULT_OUTPUT_BYTES;
    const stdout = collect(child.stdout, limit, () => end("outputLimited"));
    const stderr = collect(child.stderr, limit, () => end("outputLimited"));
    const onAbort = () => end("aborted");
    const finish = (rest: Pick<Outcome, "exitCode" | "killedBy" | "code">) => {
      timers.forEach(clearTimeout);
      options.signal?.removeEventListener("abort", onAbort);
      resolve({ ...reasons, ...rest, stdout: stdout(), stderr: stderr() });
    };
    after(options.timeoutMs, () => end("timedOut"));
    options.signal?.addEventListener("abort", onAbort, { once: true });
    child.once("error", (error: NodeJS.ErrnoException) => {
      // Also emitted for a signal that could not be sent; then the process goes on and "close" will come.
      if (child.pid === undefined) finish({ exitCode: undefined, killedBy: undefined, code: error.code });
    });
    child.once("close", (code, signal) =>
      finish({ exitCode: code ?? undefined, killedBy: signal ?? undefined, code: undefined }),
    );
    // A program that does not read its input to the end is no error of ours.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(options.input);
  });
}

/** Keeps what a pipe delivers, up to the limit; returns the text read so far. */
function collect(pipe: Readable | null, limit: number, onLimit: () => void): () => string {
  const chunks: Buffer[] = [];
  let size = 0;
  pipe?.on("data", (chunk: Buffer) => {
    if (size >= limit) return;
    chunks.push(chunk.subarray(0, limit - size));
    size += chunk.length;
    if (size > limit) onLimit();
  });
  return () => Buffer.concat(chunks).toString("utf8");
}
