// SPDX-License-Identifier: Apache-2.0
/**
 * What a command is. Commands of operations are made from the contracts (`derive.ts`), the others are written by hand, one
 * file each; both have this shape, so that parsing, help, completion, man pages and exit codes exist once.
 */
import type { ReadStream, WriteStream } from "node:tty";
import type { ErrorCode } from "@debvisor/proto-events/errors";
import type { CliSpec, Effect } from "@debvisor/proto-events/kit";
import { type Field, fieldOf, kebabCase } from "@debvisor/shared/field";
import type { Output, Sink } from "@debvisor/shared/output";
import type { z } from "zod";
import type { Client } from "./client.ts";
import type { ResolvedContext } from "./context.ts";
import { GlobalFlags, type Settings } from "./settings.ts";

/** Exit codes of every command (DESIGN.md 9). */
export const EXIT = {
  ok: 0,
  general: 1,
  usage: 2,
  notFound: 3,
  unavailable: 4,
  failed: 5,
  check: 6,
  timeout: 124,
  interrupted: 130,
} as const;

/** Text of a help page that the schema does not carry. */
export type CommandHelp = Pick<CliSpec, "examples" | "scenarios" | "preconditions" | "changes" | "undo" | "recovery">;

/** A command of a program. */
export interface CommandSpec {
  /** Plural noun; without one (a program that is a single command) the program's name stands alone. */
  readonly noun: string;
  /** One word, or two (`service restart`). */
  readonly verb?: string | undefined;
  readonly summary: string;
  /** Every argument and flag; the positional ones are named in `args`, in order. */
  readonly input: z.ZodObject;
  readonly args: readonly string[];
  readonly effect: Effect;
  /** Answered by every node; `--nodes` chooses which. */
  readonly perNode?: boolean;
  /** What it takes to be allowed: permission and role, or the right on this machine. */
  readonly privilege: string;
  readonly errors: readonly ErrorCode[];
  readonly help: CommandHelp;
  /** Input key that `--timeout` sets, where the limit is part of what the command does. */
  readonly timeoutSets?: string;
  /** Flags that may stand alone, by key, with what they mean then: `--wait` is `--wait=1h`. A value takes the `=` form. */
  readonly bare?: Readonly<Record<string, string>>;
  /** Keys of flags with which nothing else is required, such as `--rollback`. */
  readonly alone?: readonly string[];
  /** Spelling of a flag that is not its key's: `{ fileMode: "--mode" }`. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly run: (call: Call) => Promise<number>;
}

/** What a running command is given. */
export interface Call {
  /** As typed, converted, checked against the schema; keys that were not given are absent. */
  readonly given: Readonly<Record<string, unknown>>;
  /** With the schema's defaults. */
  readonly input: Readonly<Record<string, unknown>>;
  readonly settings: Settings;
  readonly output: Output;
  readonly program: Program;
  /** Aborts on Ctrl-C and when `--timeout` has run out. */
  readonly signal: AbortSignal;
  /** `--confirm` was given. */
  readonly confirmed: boolean;
  /** The terminal to ask on; undefined when input or messages are not one. */
  readonly terminal: { readonly stdin: ReadStream; readonly stderr: WriteStream } | undefined;
  /** Where progress is drawn: standard error when it is a terminal and `--quiet` was not given. */
  readonly screen: Screen | undefined;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** @throws CONTEXT_MISSING */
  context(): ResolvedContext;
  /** @throws CONTEXT_MISSING */
  client(): Client;
}

/** A terminal that a line can be drawn on again and again. */
export type Screen = Sink & { readonly columns?: number };

/** A program: a name and its commands. `single` programs have one command and no nouns. */
export interface Program {
  readonly name: string;
  readonly summary: string;
  readonly single?: boolean;
  /** Keys of global flags whose spelling is one of its own flags here; the settings and the environment still have them. */
  readonly takes?: readonly string[];
  readonly commands: readonly CommandSpec[];
}

/** A flag or argument as it is typed. */
export interface Option extends Field {
  readonly key: string;
  /** `--expires-in-days` for a flag, `NODE` for an argument. */
  readonly label: string;
  /** What the flag means without a value, where it may stand so. */
  readonly bare?: string;
}

/** The arguments of a command, in order. */
export function argumentsOf({ input, args }: CommandSpec): readonly Option[] {
  return args.map((key) => {
    const schema = input.shape[key];
    if (!schema) throw new TypeError(`argument ${key} is not in the input`);
    return { ...fieldOf(schema as z.ZodType), key, label: kebabCase(key).toUpperCase() };
  });
}

/**
 * The flags of a command without the global ones. A field called like a global flag has the noun in front:
 * `dvctl nodes register --node-version`, because `--version` is dvctl's own.
 */
export function flagsOf(command: Pick<CommandSpec, "noun" | "input" | "args" | "bare" | "labels">): readonly Option[] {
  const { noun, input, args, bare = {}, labels = {} } = command;
  return flagsOfSchema(input)
    .filter(({ key }) => !args.includes(key))
    .map((option) => {
      const inNoun = Object.hasOwn(GlobalFlags.shape, option.key);
      const label = labels[option.key] ?? (inNoun ? `--${singularOf(noun)}-${kebabCase(option.key)}` : option.label);
      const alone = bare[option.key];
      return { ...option, label, ...(alone === undefined ? {} : { bare: alone }) };
    });
}

/** Every key of a schema as a flag. */
export function flagsOfSchema(input: z.ZodObject): readonly Option[] {
  return Object.entries(input.shape).map(([key, schema]) => ({
    ...fieldOf(schema as z.ZodType),
    key,
    label: `--${kebabCase(key)}`,
  }));
}

/** Words that a command starts with: `nodes list`, `nodes service restart`. */
export function wordsOf({ noun, verb }: Pick<CommandSpec, "noun" | "verb">): readonly string[] {
  return [noun, ...(verb ?? "").split(" ")].filter((word) => word !== "");
}

/** The command as it is typed, without arguments: `dvctl nodes list`. */
export function titleOf(program: Program, command: CommandSpec): string {
  return [program.name, ...wordsOf(command)].join(" ");
}

/** `nodes` → `node`, `capabilities` → `capability`; words that are no plural stay. */
export function singularOf(noun: string): string {
  if (/(ss|us|is|^dns)$/.test(noun) || !noun.endsWith("s")) return noun;
  return noun.endsWith("ies") ? `${noun.slice(0, -3)}y` : noun.slice(0, -1);
}
