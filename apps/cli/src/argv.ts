// SPDX-License-Identifier: Apache-2.0
/**
 * From sorted words and flags (`scan.ts`) to a command and its checked input. Commander wants a subcommand's flags behind
 * its name, so the words are found first and commander parses the one command that they name.
 */
import { DvError } from "@debvisor/shared/errors";
import { readText } from "@debvisor/shared/field";
import { parseDuration, SECOND_MS } from "@debvisor/shared/units";
import { Command, CommanderError } from "commander";
import type { z } from "zod";
import {
  argumentsOf,
  type CommandSpec,
  flagsOf,
  flagsOfSchema,
  type Option,
  type Program,
  singularOf,
  titleOf,
  wordsOf,
} from "./command.ts";
import type { Scanned } from "./scan.ts";
import { ConfirmFlag, GlobalFlags } from "./settings.ts";
import { issueText, nearest } from "./wording.ts";

/** Every flag of the program, and whether it is a switch. A test keeps one name from being both. */
export function booleanFlags(program: Program): ReadonlyMap<string, boolean> {
  const all = [...globalOptions(true), ...program.commands.flatMap(flagsOf)];
  return new Map(all.map(({ label, type, repeated }) => [label, type === "boolean" && !repeated]));
}

/** The flags that are not a command's own. */
export function globalOptions(withConfirm: boolean, { takes = [] }: Pick<Program, "takes"> = {}): readonly Option[] {
  const all = [...flagsOfSchema(GlobalFlags), ...(withConfirm ? flagsOfSchema(ConfirmFlag) : [])];
  return all.filter(({ key }) => !takes.includes(key));
}

/** What the words name: a command with the words left for its arguments, or only a noun, or nothing. */
export interface Resolved {
  readonly command: CommandSpec | undefined;
  readonly noun: string | undefined;
  readonly words: readonly string[];
}

/** Finds the command that the words name. @throws INVALID_ARGUMENT for an unknown noun or verb */
export function resolveCommand(program: Program, words: readonly string[]): Resolved {
  if (program.single) return { command: program.commands[0], noun: undefined, words };
  const [first, second] = words;
  if (first === undefined) return { command: undefined, noun: undefined, words };
  const ofNoun = program.commands.filter(({ noun }) => noun === first || singularOf(noun) === first);
  const noun = ofNoun[0]?.noun;
  if (noun === undefined)
    throw usage(
      `unknown command ${first}${nearest(
        first,
        program.commands.map((command) => command.noun),
      )}; see ${program.name} --help`,
    );
  const exact = ofNoun.find((command) => command.verb !== undefined && startsWith(words.slice(1), command));
  if (exact) return { command: exact, noun, words: words.slice(wordsOf(exact).length) };
  const bare = ofNoun.find(({ verb }) => verb === undefined);
  if (bare) return { command: bare, noun, words: words.slice(1) };
  if (second === undefined) return { command: undefined, noun, words: [] };
  throw unknownVerb(noun, words, ofNoun);
}

function startsWith(words: readonly string[], command: CommandSpec): boolean {
  const [, ...verb] = wordsOf(command);
  return verb.every((word, i) => words[i] === word);
}

/* `nodes service` names a group of verbs: what is missing or wrong then is the second word. */
function unknownVerb(noun: string, [, second = "", third]: readonly string[], ofNoun: readonly CommandSpec[]): DvError {
  const verbs = ofNoun.map(({ verb = "" }) => verb);
  const group = verbs.filter((verb) => verb.startsWith(`${second} `)).map((verb) => verb.slice(second.length + 1));
  if (group.length > 0 && third === undefined) {
    return usage(`${noun} ${second} needs a verb; there are: ${group.join(", ")}`);
  }
  if (group.length > 0) {
    return usage(
      `unknown verb ${third} of ${noun} ${second}${nearest(third ?? "", group)}; there are: ${group.join(", ")}`,
    );
  }
  return usage(`unknown verb ${second} of ${noun}${nearest(second, verbs)}; there are: ${verbs.join(", ")}`);
}

/** The global flags among what was scanned, by key. Unknown flags are left to `parseInput`. @throws INVALID_ARGUMENT */
export function readGlobals(scanned: Scanned, program: Pick<Program, "takes"> = {}): Readonly<Record<string, unknown>> {
  const options = globalOptions(true, program);
  const parser = commanderFor(options).allowUnknownOption().allowExcessArguments();
  return collect(run(parser, scanned.flags), options);
}

/** The checked input of a command. `given` keeps what was typed, `input` has the defaults as well. */
export interface ParsedInput {
  readonly given: Readonly<Record<string, unknown>>;
  readonly input: Readonly<Record<string, unknown>>;
  readonly confirmed: boolean;
}

/** Parses the arguments and flags of a command and checks them against its schema. @throws INVALID_ARGUMENT */
export function parseInput(
  program: Program,
  command: CommandSpec,
  words: readonly string[],
  scanned: Scanned,
): ParsedInput {
  const options = [...globalOptions(command.effect !== "read", program), ...flagsOf(command)];
  const parser = commanderFor(options).name(titleOf(program, command));
  const needsNothing = standsAlone(command, scanned);
  for (const { label } of argumentsOf(command)) parser.argument(`[${label}]`);
  const positional = [...words, ...scanned.rest];
  checkCount(program, command, positional, needsNothing);
  const typed = run(parser, [...scanned.flags, ...(positional.length > 0 ? ["--", ...positional] : [])]);
  const given = collect(typed, flagsOf(command));
  for (const [i, option] of argumentsOf(command).entries()) {
    const text = parser.args[i];
    if (text !== undefined) given[option.key] = readText(option, text);
  }
  if (command.timeoutSets !== undefined) adoptTimeout(command, typed["timeout"], given);
  const checked = (needsNothing ? command.input.partial() : command.input).safeParse(given);
  if (!checked.success) throw refusal(program, command, checked.error.issues[0]);
  return { given, input: checked.data, confirmed: typed["confirm"] === true };
}

/* Whether one of the flags was given with which nothing else is required. */
function standsAlone(command: CommandSpec, { flags }: Scanned): boolean {
  const { alone = [] } = command;
  const labels = flagsOf(command).flatMap(({ key, label }) => (alone.includes(key) ? [label] : []));
  return flags.some((flag) => labels.includes(flag.split("=", 1)[0] ?? flag));
}

/* A word too few or too many, named with the usage of the command. */
function checkCount(
  program: Program,
  command: CommandSpec,
  positional: readonly string[],
  needsNothing: boolean,
): void {
  const args = argumentsOf(command);
  const missing = args[positional.length];
  const usageText = [
    titleOf(program, command),
    ...args.map(({ label, required }) => (required ? label : `[${label}]`)),
  ];
  if (missing?.required && !needsNothing) throw usage(`${missing.label} is missing: ${usageText.join(" ")}`);
  const extra = positional.slice(args.length);
  if (extra.length > 0) throw usage(`too many words (${extra.join(" ")}): ${usageText.join(" ")}`);
}

/* `dvctl discover --timeout 5` listens for five seconds (DISC-02), and does not fail after them. */
function adoptTimeout(command: CommandSpec, timeout: unknown, given: Record<string, unknown>): void {
  const key = command.timeoutSets ?? "";
  if (timeout === undefined || given[key] !== undefined) return;
  const ms = parseDuration(String(timeout));
  if (ms === undefined) throw usage(`--timeout: a time such as 5 (seconds), 500ms or 2m`);
  given[key] = ms / SECOND_MS;
}

function commanderFor(options: readonly Option[]): Command {
  const parser = new Command()
    .exitOverride()
    .configureOutput({ writeErr: () => undefined, writeOut: () => undefined })
    .helpOption(false);
  for (const { label, type, repeated } of options) {
    if (type === "boolean" && !repeated) parser.option(label);
    else if (repeated)
      parser.option(`${label} <value>`, "", (value: string, before: string[] | undefined) => [
        ...(before ?? []),
        value,
      ]);
    else parser.option(`${label} <value>`);
  }
  return parser;
}

function run(parser: Command, argv: readonly string[]): Record<string, unknown> {
  try {
    parser.parse(argv, { from: "user" });
    return parser.opts();
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    const flag = /^error: option '(--[\w-]+)/.exec(error.message)?.[1];
    if (error.code === "commander.optionMissingArgument" && flag) throw usage(`${flag} needs a value`);
    throw usage(error.message.replace(/^error: /, "").replaceAll("\n", " "));
  }
}

function collect(typed: Readonly<Record<string, unknown>>, options: readonly Option[]): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const option of options) {
    const value = typedValue(typed, option);
    if (value === undefined) continue;
    if (Array.isArray(value)) found[option.key] = value.flatMap((text: string) => readText(option, text) as unknown[]);
    else found[option.key] = typeof value === "string" ? readText(option, value) : value;
  }
  return found;
}

/* Commander files a value under the flag's name in camel case, and turns `--no-color` into `color: false`. */
function typedValue(typed: Readonly<Record<string, unknown>>, { label }: Option): unknown {
  const negated = label.startsWith("--no-");
  const name = label.slice(negated ? 5 : 2).replaceAll(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  return negated ? typed[name] === false || undefined : typed[name];
}

function optionOf(command: CommandSpec, key: string): Option | undefined {
  return [...argumentsOf(command), ...flagsOf(command)].find((option) => option.key === key);
}

function refusal(program: Program, command: CommandSpec, issue: z.core.$ZodIssue | undefined): DvError {
  const key = String(issue?.path[0] ?? "");
  const label = optionOf(command, key)?.label ?? key;
  const title = titleOf(program, command);
  if (key === "nodes") return usage(`which nodes? ${title} --nodes node-1,node-2, --nodes role=server or --nodes all`);
  const missing = issue?.code === "invalid_type" && issue.message.endsWith("received undefined");
  return usage(
    missing ? `${label} is required; see ${title} --help` : `${label}: ${issueText(issue, optionOf(command, key))}`,
  );
}

/** An error of the command line: exit code 2. */
export function usage(message: string): DvError {
  return new DvError("INVALID_ARGUMENT", message);
}

/** Words of a command as one argument for completion and man page names: `nodes-list`. */
export function pageNameOf(command: CommandSpec): string {
  return wordsOf(command).join("-");
}
