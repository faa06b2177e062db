// SPDX-License-Identifier: Apache-2.0
/**
 * One run of a command, from the command line to the exit code. Everything that can be wrong with the command line is found
 * before the first effect; no failure shows a stack unless `--verbose` asked for the causes.
 */
import { readFileSync } from "node:fs";
import { ReadStream, WriteStream } from "node:tty";
import { Check } from "@debvisor/proto-events/durable";
import { errorEntry } from "@debvisor/proto-events/errors";
import { type Environment, readEnv } from "@debvisor/shared/config";
import { causeChain, DvError, toDvError } from "@debvisor/shared/errors";
import { createOutput, type LogFile, type Output, openLogFile, type Sink, wantsColor } from "@debvisor/shared/output";
import { formatDuration } from "@debvisor/shared/units";
import { z } from "zod";
import { actingUser } from "./acting-user.ts";
import { parseInput, readGlobals, resolveCommand } from "./argv.ts";
import { createClient } from "./client.ts";
import { type Call, type CommandSpec, EXIT, type Program, type Screen } from "./command.ts";
import { resolveContext } from "./context.ts";
import { commandHelp, nounHelp, programHelp, programOverview } from "./help.ts";
import { checkText } from "./operation-text.ts";
import { scan } from "./scan.ts";
import { loadSettings, type Settings } from "./settings.ts";

/** Version of the commands: that of the repository. */
export function version(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return String((JSON.parse(text) as { version: unknown }).version);
}

/** What surrounds a run: the process, or what a test puts in its place. */
export interface Surroundings {
  readonly env: Environment;
  readonly cwd: string;
  readonly stdout: Sink & { readonly isTTY?: boolean };
  readonly stderr: Screen & { readonly isTTY?: boolean };
  /** The terminal that a question can be asked on. */
  readonly terminal: Call["terminal"];
}

/** How long a command may take to end after Ctrl-C or its time limit, such as for a goodbye on the network. */
const GRACE_MS = 2_000;

/** Runs a program with the process's arguments and ends the process with its exit code. */
export async function main(program: Program): Promise<void> {
  // A reader that went away (`| head`) is no error of ours, and there is nobody left to tell.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? EXIT.ok : EXIT.general));
  }
  const { stdin, stdout, stderr } = process;
  const interactive = stdin.isTTY && stderr.isTTY && stdin instanceof ReadStream && stderr instanceof WriteStream;
  const surroundings = {
    env: readEnv(),
    cwd: process.cwd(),
    stdout,
    stderr,
    terminal: interactive ? { stdin, stderr } : undefined,
  };
  const code = await runProgram(program, process.argv.slice(2), surroundings);
  await Promise.all([flushed(stdout), flushed(stderr)]);
  process.exit(code);
}

/* A pipe takes 64 KiB at a time; what a slow reader has not taken yet would be lost at the exit. */
function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write("", () => resolve()));
}

/** Runs a program and returns its exit code. */
export async function runProgram(
  program: Program,
  argv: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  const { env, stdout } = surroundings;
  const print = (text: string) => {
    stdout.write(`${text}\n`);
    return EXIT.ok;
  };
  let output = outputFor(
    { format: "table", verbose: false, quiet: false, noColor: argv.includes("--no-color") },
    surroundings,
    undefined,
  );
  let logFile: LogFile | undefined;
  try {
    const scanned = scan(program, argv);
    const globals = readGlobals(scanned, program);
    if (globals["version"] === true) return print(`${program.name} ${version()}`);
    const resolved =
      globals["help"] === true ? resolveForHelp(program, scanned.words) : resolveCommand(program, scanned.words);
    const { command, noun } = resolved;
    if (globals["help"] === true) return print(helpFor(program, command, noun));
    const settings = loadSettings(globals, env);
    logFile = settings.logFile === undefined ? undefined : await openLog(settings.logFile);
    output = outputFor(settings, surroundings, logFile);
    if (!command && noun === undefined) return print(programOverview(program));
    if (!command) {
      output.error(`${program.name} ${noun} needs a verb (INVALID_ARGUMENT)`);
      surroundings.stderr.write(`\n${nounHelp(program, noun ?? "")}\n`);
      return EXIT.usage;
    }
    const parsed = parseInput(program, command, resolved.words, scanned);
    return await runCommand(command, callFor({ program, settings, output }, parsed, surroundings), settings);
  } catch (error) {
    return reportError(error, output);
  } finally {
    logFile?.close();
  }
}

/* A wrong verb still gets the help of its noun. */
function resolveForHelp(program: Program, words: readonly string[]) {
  try {
    return resolveCommand(program, words);
  } catch (error) {
    if (words.length < 2) throw error;
    return resolveCommand(program, words.slice(0, 1));
  }
}

function helpFor(program: Program, command: CommandSpec | undefined, noun: string | undefined): string {
  if (command) return commandHelp(program, command);
  return noun === undefined ? programHelp(program) : nounHelp(program, noun);
}

async function openLog(path: string): Promise<LogFile> {
  const { maskSecrets } = await import("@debvisor/shared/log");
  return openLogFile(path, maskSecrets);
}

function outputFor(
  settings: Pick<Settings, "format" | "verbose" | "quiet" | "noColor">,
  { env, stdout, stderr }: Surroundings,
  logFile: LogFile | undefined,
): Output {
  const { noColor } = settings;
  return createOutput({
    stdout,
    stderr,
    format: settings.format,
    color: wantsColor({ terminal: stdout.isTTY === true, noColor, env }),
    messageColor: wantsColor({ terminal: stderr.isTTY === true, noColor, env }),
    terminal: stdout.isTTY === true,
    verbose: settings.verbose,
    quiet: settings.quiet,
    logFile,
  });
}

function callFor(
  base: Pick<Call, "program" | "settings" | "output">,
  parsed: ReturnType<typeof parseInput>,
  { env, cwd, terminal, stderr }: Surroundings,
): Omit<Call, "signal" | "client"> {
  const screen = stderr.isTTY === true && !base.settings.quiet ? stderr : undefined;
  const context = () => resolveContext(base.settings, env, cwd);
  return { ...base, ...parsed, env, cwd, terminal, screen, context };
}

/* Runs the command until it ends, is interrupted, or its time is up; then it has a moment to end by itself. */
async function runCommand(
  command: CommandSpec,
  call: Omit<Call, "signal" | "client">,
  settings: Settings,
): Promise<number> {
  const stop = new AbortController();
  const { signal } = stop;
  let code: number | undefined;
  const end = (exitCode: number, message?: string) => {
    if (code !== undefined) process.exit(exitCode);
    code = exitCode;
    if (message !== undefined) call.output.error(message);
    stop.abort();
  };
  const onInterrupt = () => end(EXIT.interrupted);
  const onTerminate = () => end(EXIT.interrupted + 13);
  process.on("SIGINT", onInterrupt).on("SIGTERM", onTerminate);
  const limitMs = command.timeoutSets === undefined ? settings.timeoutMs : undefined;
  const timer =
    limitMs === undefined
      ? undefined
      : setTimeout(() => end(EXIT.timeout, `no end within ${formatDuration(limitMs)} (--timeout)`), limitMs);
  try {
    const userAgent = `${call.program.name}/${version()}`;
    const user = actingUser(call.env);
    const client = () => createClient({ context: call.context(), output: call.output, signal, userAgent, user });
    const ran = command.run({ ...call, signal, client });
    const own = await Promise.race([ran, graceAfter(signal)]);
    return code ?? own ?? EXIT.general;
  } catch (error) {
    if (code !== undefined) return code;
    throw error;
  } finally {
    clearTimeout(timer);
    process.off("SIGINT", onInterrupt).off("SIGTERM", onTerminate);
  }
}

function graceAfter(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => setTimeout(() => resolve(undefined), GRACE_MS).unref(), { once: true });
  });
}

/** Says what went wrong and what to do about it; returns the exit code. */
export function reportError(error: unknown, output: Output): number {
  const failure = toDvError(error);
  output.error(`${failure.message} (${failure.code})`);
  const requestId = failure.details?.["requestId"];
  if (typeof requestId === "string" && failure.kind === "internal") output.error(`request id ${requestId}`);
  for (const line of [...issueLines(failure), ...checkLines(failure), ...lastLines(failure)]) output.error(line);
  const remedy = remedyOf(failure);
  if (remedy !== undefined) output.info(`what to do: ${remedy}`);
  if (!(error instanceof DvError) || failure.cause !== undefined) output.debug(causeChain(error));
  return failure.exitCode;
}

/*
 * What whoever raised it knows is better than what the catalogue says of the code. The remedy of a bad argument is about
 * the JSON of the API; here the lines above it say the same.
 */
function remedyOf({ code, details }: DvError): string | undefined {
  const hint = details?.["hint"];
  if (typeof hint === "string") return hint;
  return code === "INVALID_ARGUMENT" ? undefined : errorEntry(code)?.remedy;
}

/* Fields that the gateway refused. */
function issueLines({ message, details }: DvError): readonly string[] {
  const issues = details?.["issues"];
  if (!Array.isArray(issues)) return [];
  const lines = issues.slice(0, 10).map((issue: { path?: unknown; message?: unknown }) => {
    const path = Array.isArray(issue.path) ? issue.path.join(".") : String(issue.path ?? "");
    return `${path}: ${String(issue.message ?? "")}`;
  });
  return lines.filter((line) => line !== message).map((line) => `  ${line}`);
}

/* Prerequisites of an operation that are not met. */
function checkLines({ details }: DvError): readonly string[] {
  const checks = z.array(Check).safeParse(details?.["checks"]);
  if (!checks.success) return [];
  return checks.data.filter(({ status }) => status !== "passed").map((check) => `  ${checkText(check)}`);
}

/* What an outside program said before it failed. */
function lastLines({ details }: DvError): readonly string[] {
  const lines = details?.["lastLines"];
  return Array.isArray(lines) ? lines.map((line) => `  ${String(line)}`) : [];
}
