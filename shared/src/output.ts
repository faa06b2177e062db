// SPDX-License-Identifier: Apache-2.0
/**
 * What a command prints. Data goes to standard output, messages to standard error (REQUIREMENTS ), and a copy of
 * both into the log file when one was asked for. Text from the network may carry terminal control sequences;
 * everything that is shown passes `printable`.
 */
import { closeSync, fchmodSync, fstatSync, openSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { styleText } from "node:util";
import { type Clock, systemClock, timestamp } from "./clock.ts";
import { DvError } from "./errors.ts";
import { makeFolders } from "./folders.ts";

/** Formats of a result. */
export const FORMATS = ["table", "json", "yaml"] as const;
export type Format = (typeof FORMATS)[number];

/** Level of a message. */
export type Level = "DEBUG" | "INFO" | "WARN" | "ERROR";

/** Where text goes; `process.stdout` and `process.stderr` are such. */
export interface Sink {
  write(text: string): unknown;
}

/** Options of `createOutput`. */
export interface OutputOptions {
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly format: Format;
  /** Colour on standard output and on standard error; decide it with `wantsColor`. */
  readonly color?: boolean;
  readonly messageColor?: boolean;
  /** Whether standard output is a terminal: JSON is then indented, otherwise it is passed on byte for byte. */
  readonly terminal?: boolean;
  readonly verbose?: boolean;
  readonly quiet?: boolean;
  readonly logFile?: LogFile | undefined;
  readonly clock?: Clock;
}

/** The two streams of a command. */
export interface Output {
  readonly format: Format;
  readonly color: boolean;
  readonly verbose: boolean;
  debug(text: string): void;
  info(text: string): void;
  warn(text: string): void;
  error(text: string): void;
  /** Writes a result as JSON or YAML, or as the text that `table` returns. `raw` is the JSON text as it was received. */
  result(value: unknown, table: () => string, raw?: string): void;
  /** Writes a line of data as it is. */
  line(text: string): void;
}

const LEVEL_STYLES = { DEBUG: "dim", INFO: "cyan", WARN: "yellow", ERROR: "red" } as const;

/** Makes the output of a command. */
export function createOutput(options: OutputOptions): Output {
  const { stdout, stderr, format, logFile, clock = systemClock } = options;
  const message = (level: Level, text: string) => {
    const shown = printable(text);
    const prefix = options.messageColor
      ? styleText(LEVEL_STYLES[level], `[${level}]`, { validateStream: false })
      : `[${level}]`;
    const time = timestamp(clock);
    stderr.write(`${prefix} ${time} ${shown}\n`);
    logFile?.append(`${time} [${level}] ${shown}`);
  };
  const line = (text: string) => {
    stdout.write(`${text}\n`);
    for (const part of text.split("\n")) logFile?.append(`${timestamp(clock)} [OUT] ${part}`);
  };
  return {
    format,
    color: options.color ?? false,
    verbose: options.verbose ?? false,
    debug: (text) => void (options.verbose && message("DEBUG", text)),
    info: (text) => void (options.quiet || message("INFO", text)),
    warn: (text) => message("WARN", text),
    error: (text) => message("ERROR", text),
    line,
    result: (value, table, raw) => {
      if (format === "table") return line(table());
      if (format === "yaml") return line(toYaml(value));
      line(raw === undefined || options.terminal ? JSON.stringify(value, null, 2) : raw.trimEnd());
    },
  };
}

/** Colour only on a terminal, and never against `NO_COLOR` or `--no-color`. */
export function wantsColor(options: {
  readonly terminal: boolean;
  readonly noColor: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
}): boolean {
  const forbidden = options.env["NO_COLOR"];
  return (
    options.terminal &&
    !options.noColor &&
    (forbidden === undefined || forbidden === "") &&
    options.env["TERM"] !== "dumb"
  );
}

/* C0 without tab and line feed, DEL, C1, and the marks that reverse the direction of text. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it removes
const UNPRINTABLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** Replaces control characters, so that a host name from the network cannot move the cursor or rename the window. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, "\uFFFD");
}

/* yaml takes 20 ms to load: only the command that prints YAML pays for it. */
const load = createRequire(import.meta.url);

function toYaml(value: unknown): string {
  const { stringify } = load("yaml") as typeof import("yaml");
  return stringify(value).trimEnd();
}

/** A log file of a command: appended, mode 0640, secrets masked. */
export interface LogFile {
  append(line: string): void;
  close(): void;
}

/** Opens a log file and makes its folder. `mask` hides secrets in each line. @throws INVALID_ARGUMENT when it cannot be written */
export function openLogFile(path: string, mask: (text: string) => string): LogFile {
  try {
    makeFolders(dirname(path));
    const descriptor = openSync(path, "a", 0o640);
    // The umask may have taken the group's right away; a file that was there before keeps its mode.
    if (fstatSync(descriptor).size === 0) fchmodSync(descriptor, 0o640);
    return {
      append: (line) => void writeSync(descriptor, `${mask(line)}\n`),
      close: () => closeSync(descriptor),
    };
  } catch (error) {
    throw unwritable(path, error);
  }
}

function unwritable(path: string, cause: unknown): DvError {
  const code = (cause as NodeJS.ErrnoException).code ?? "unknown cause";
  return new DvError("INVALID_ARGUMENT", `--log-file: ${path} cannot be written (${code})`, { cause });
}
