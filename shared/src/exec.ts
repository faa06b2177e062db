// SPDX-License-Identifier: Apache-2.0
/**
 * The one function that runs outside programs (STYLE.md B7): an argument array, never a shell, a fixed environment, a
 * mandatory time limit, an output limit, an abort signal, and a command line that is logged with secrets masked. Success and
 * failure have the same shape, so a driver decides on data. execa is loaded by the first call, since most processes never run one.
 */
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
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

/** What execa tells about a run, as far as it is used here. */
interface Outcome {
  readonly failed: boolean;
  readonly timedOut: boolean;
  readonly isCanceled: boolean;
  readonly isMaxBuffer: boolean;
  readonly exitCode?: number;
  readonly signal?: string;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  readonly code?: string;
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
  const outcome = path === undefined ? notStarted(options.signal?.aborted === true) : await spawn(path, args, options);
  const result: ExecResult = {
    program,
    commandLine,
    failed: outcome.failed,
    missing: outcome.code === "ENOENT" || outcome.code === "EACCES",
    timedOut: outcome.timedOut,
    aborted: outcome.isCanceled,
    outputLimited: outcome.isMaxBuffer,
    exitCode: outcome.exitCode,
    killedBy: outcome.signal,
    stdout: new TextDecoder().decode(outcome.stdout),
    stderr: new TextDecoder().decode(outcome.stderr),
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
  const nothing = new Uint8Array();
  const base = {
    failed: true,
    timedOut: false,
    isCanceled: aborted,
    isMaxBuffer: false,
    stdout: nothing,
    stderr: nothing,
  };
  return aborted ? base : { ...base, code: "ENOENT" };
}

async function spawn(path: string, args: readonly string[], options: ExecOptions): Promise<Outcome> {
  const { execa } = await import("execa");
  const subprocess = execa(path, [...args], {
    reject: false,
    extendEnv: false,
    env: { LC_ALL: "C", PATH: SYSTEM_PATH, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.input === undefined ? { stdin: "ignore" as const } : { input: options.input }),
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
    timeout: options.timeoutMs,
    maxBuffer: options.maxOutputBytes ?? DEFAULT_OUTPUT_BYTES,
    forceKillAfterDelay: KILL_GRACE_MS,
    encoding: "buffer",
    stripFinalNewline: false,
  });
  const release = releasePipes(subprocess, options);
  try {
    return (await subprocess) as Outcome;
  } finally {
    release();
  }
}

/**
 * A killed program's own child may hold the pipes open, and execa waits for their end. Once the program had its time and the
 * grace, the pipes are cut, so that `exec` always returns within `timeoutMs` (or the abort) plus two seconds.
 */
function releasePipes(
  subprocess: { readonly stdout: { destroy(): unknown }; readonly stderr: { destroy(): unknown } },
  options: ExecOptions,
): () => void {
  const cut = () => {
    subprocess.stdout.destroy();
    subprocess.stderr.destroy();
  };
  let afterAbort: NodeJS.Timeout | undefined;
  const afterTime = setTimeout(cut, options.timeoutMs + 2 * KILL_GRACE_MS);
  const onAbort = () => {
    afterAbort = setTimeout(cut, 2 * KILL_GRACE_MS);
  };
  options.signal?.addEventListener("abort", onAbort, { once: true });
  return () => {
    clearTimeout(afterTime);
    clearTimeout(afterAbort);
    options.signal?.removeEventListener("abort", onAbort);
  };
}
