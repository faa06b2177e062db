// SPDX-License-Identifier: Apache-2.0
/**
 * The first look at a command line: which words are flags and which are not. Flags may stand before, between and after the
 * words, as `--flag value` or `--flag=value`; `--` ends them (REQUIREMENTS X-16).
 */
import { readText } from "@debvisor/shared/field";
import { booleanFlags, resolveCommand, usage } from "./argv.ts";
import { type CommandSpec, flagsOf, type Program } from "./command.ts";
import { nearest } from "./wording.ts";

/** A command line taken apart. */
export interface Scanned {
  /** Words before `--` that belong to no flag. */
  readonly words: readonly string[];
  /** Flags with their values, in the order given, as commander reads them. */
  readonly flags: readonly string[];
  /** Everything after `--`. */
  readonly rest: readonly string[];
}

const SHORT_FLAGS: Readonly<Record<string, string>> = { "-h": "--help", "-V": "--version" };

/**
 * Sorts the command line into words and flags. Whether the word behind `--wait` is its value depends on the command, and the
 * command on the words: it is found with such flags standing alone first. @throws INVALID_ARGUMENT
 */
export function scan(program: Program, argv: readonly string[]): Scanned {
  const switches = booleanFlags(program);
  const bare = new Map(program.commands.flatMap(bareFlags));
  const alone = sort(argv, switches, bare);
  const command = commandOf(program, alone.words);
  if (command) return sort(argv, switches, new Map(bareFlags(command)));
  const valued = bare.size === 0 ? alone : sort(argv, switches, new Map());
  return commandOf(program, valued.words) ? valued : alone;
}

function bareFlags(command: CommandSpec): readonly (readonly [string, string])[] {
  return flagsOf(command).flatMap(({ label, bare }) => (bare === undefined ? [] : [[label, bare] as const]));
}

function commandOf(program: Program, words: readonly string[]): CommandSpec | undefined {
  try {
    return resolveCommand(program, words).command;
  } catch {
    return undefined;
  }
}

function sort(
  argv: readonly string[],
  switches: ReadonlyMap<string, boolean>,
  bare: ReadonlyMap<string, string>,
): Scanned {
  const words: string[] = [];
  const flags: string[] = [];
  const queue = [...argv];
  for (let word = queue.shift(); word !== undefined; word = queue.shift()) {
    if (word === "--") return { words, flags, rest: queue };
    const long = SHORT_FLAGS[word] ?? word;
    if (/^-[A-Za-z]/.test(long)) throw usage(`unknown flag ${word}`);
    const alone = bare.get(long);
    if (alone !== undefined) flags.push(`${long}=${alone}`);
    else if (long.startsWith("--")) flags.push(...scanFlag(long, switches, queue));
    else words.push(word);
  }
  return { words, flags, rest: [] };
}

/* One flag as commander reads it; takes the value from the queue where the flag has one. */
function scanFlag(word: string, switches: ReadonlyMap<string, boolean>, queue: string[]): readonly string[] {
  const name = word.split("=", 1)[0] ?? word;
  if (!switches.has(name)) throw usage(`unknown flag ${name}${nearest(name, [...switches.keys()])}`);
  if (switches.get(name) === true) return booleanValue(name, word) ? [name] : [];
  if (word.includes("=")) return [word];
  const value = queue.shift();
  if (value?.startsWith("--")) {
    throw usage(`${name} needs a value, not the flag ${value}; write ${name}=${value} if it is one`);
  }
  return value === undefined ? [name] : [name, value];
}

function booleanValue(name: string, word: string): boolean {
  if (!word.includes("=")) return true;
  const value = readText({ type: "boolean", repeated: false }, word.slice(name.length + 1));
  if (typeof value !== "boolean") throw usage(`${name} is a switch: true or false, not ${word.slice(name.length + 1)}`);
  return value;
}
