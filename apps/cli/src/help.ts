// SPDX-License-Identifier: Apache-2.0
/**
 * Help pages (REQUIREMENTS X-04), made from the commands alone: no network, no second text. The sections are data first, so
 * that terminal help, man pages and the Markdown reference show the same.
 */
import { ERROR_KINDS, type ErrorCode, errorEntry } from "@debvisor/proto-events/errors";
import { globalOptions } from "./argv.ts";
import {
  argumentsOf,
  type CommandSpec,
  flagsOf,
  type Option,
  type Program,
  singularOf,
  titleOf,
  wordsOf,
} from "./command.ts";

/** A section of a help page: a title and its lines, or pairs of term and text. */
export interface Section {
  readonly title: string;
  readonly lines?: readonly string[];
  readonly pairs?: readonly (readonly [string, string])[];
}

/** Titles that every page has, in order. */
export const SECTION_TITLES = [
  "USAGE",
  "FLAGS",
  "EXAMPLES",
  "COMMON SCENARIOS",
  "PRECONDITIONS",
  "WHAT IT CHANGES",
  "HOW TO UNDO IT",
  "RECOVERY WHEN UNDO FAILS",
  "TROUBLESHOOTING",
  "REQUIRED PRIVILEGE",
  "EXIT CODES",
] as const;

const GENERAL_TROUBLE: readonly ErrorCode[] = [
  "CONTEXT_MISSING",
  "UNAVAILABLE",
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
  "INVALID_ARGUMENT",
];

/** Every section of a command's page. */
export function sectionsOf(program: Program, command: CommandSpec): readonly Section[] {
  const { help } = command;
  return [
    { title: "USAGE", lines: [usageLine(program, command)] },
    {
      title: "FLAGS",
      pairs: [...argumentsOf(command), ...flagsOf(command), ...globalFlagsOf(command)].map(
        (option) => [spelling(option), explanation(option)] as const,
      ),
    },
    { title: "EXAMPLES", pairs: help.examples.map(({ command: typed, does }) => [typed, does] as const) },
    { title: "COMMON SCENARIOS", pairs: scenariosOf(program, command) },
    { title: "PRECONDITIONS", lines: [help.preconditions ?? defaultPrecondition(command)] },
    {
      title: "WHAT IT CHANGES",
      lines: [help.changes ?? (command.effect === "read" ? "Nothing: it only reads." : "See the summary.")],
    },
    { title: "HOW TO UNDO IT", lines: [help.undo ?? "Nothing to undo."] },
    { title: "RECOVERY WHEN UNDO FAILS", lines: [help.recovery ?? defaultRecovery(command)] },
    { title: "TROUBLESHOOTING", pairs: troubleOf(command) },
    { title: "REQUIRED PRIVILEGE", lines: [command.privilege] },
    { title: "EXIT CODES", pairs: exitCodes(command) },
  ];
}

/** The page of one command as text. */
export function commandHelp(program: Program, command: CommandSpec): string {
  const sections = sectionsOf(program, command).map(renderSection);
  return [`${titleOf(program, command)}: ${command.summary}`, ...sections].join("\n\n");
}

/** The verbs of a noun. */
export function nounHelp(program: Program, noun: string): string {
  const commands = program.commands.filter((command) => command.noun === noun);
  const pairs = commands.map(
    (command) => [usageLine(program, command).replace(" [flags]", ""), command.summary] as const,
  );
  const alias =
    singularOf(noun) === noun
      ? []
      : [`${singularOf(noun)} is an alias of ${noun}. Flags: ${program.name} ${noun} VERB --help`];
  return [renderSection({ title: "COMMANDS", pairs }), ...alias].join("\n\n");
}

/** What a program without words says: its nouns with their verbs, and how to go on. */
export function programOverview(program: Program): string {
  const nouns = [...new Set(program.commands.map(({ noun }) => noun))];
  const pairs = nouns.map((noun) => {
    const commands = program.commands.filter((command) => command.noun === noun);
    const verbs = commands.flatMap(({ verb }) => verb ?? []);
    return [noun, verbs.length > 0 ? verbs.join(", ") : (commands[0]?.summary ?? "")] as const;
  });
  return [
    `${program.name}: ${program.summary}`,
    renderSection({ title: hasVerbs(program) ? "NOUNS AND THEIR VERBS" : "COMMANDS", pairs }),
    hasVerbs(program)
      ? [
          `${program.name} status           is the cluster well?`,
          `${program.name} NOUN             the verbs of a noun`,
          `${program.name} NOUN VERB --help everything about one command`,
          `${program.name} --help           all commands and flags`,
        ].join("\n")
      : `${program.name} COMMAND --help   everything about one command`,
  ].join("\n\n");
}

function hasVerbs({ commands }: Program): boolean {
  return commands.some(({ verb }) => verb !== undefined);
}

/** `dvctl NOUN [VERB] [arguments] [flags]`. */
export function programUsage(program: Program): string {
  return `${program.name} ${hasVerbs(program) ? "NOUN [VERB]" : "COMMAND"} [arguments] [flags]`;
}

/** Every command of a program in one line. */
export function programHelp(program: Program): string {
  const pairs = program.commands.map((command) => [wordsOf(command).join(" "), command.summary] as const);
  const flags = globalOptions(false, program).map((option) => [spelling(option), explanation(option)] as const);
  return [
    `${program.name}: ${program.summary}`,
    renderSection({ title: "USAGE", lines: [programUsage(program)] }),
    renderSection({ title: "COMMANDS", pairs }),
    renderSection({ title: "FLAGS OF EVERY COMMAND", pairs: flags }),
    hasVerbs(program)
      ? `Help for one command: ${program.name} help nodes list. All error codes: ${program.name} errors.`
      : `Help for one command: ${program.name} COMMAND --help. All error codes: dvctl errors.`,
  ].join("\n\n");
}

/** `dvctl nodes show NODE [flags]`. */
export function usageLine(program: Program, command: CommandSpec): string {
  const args = argumentsOf(command).map(({ label, required }) => (required ? label : `[${label}]`));
  const needed = flagsOf(command).filter(({ required }) => required);
  return [titleOf(program, command), ...args, ...needed.map(spelling), "[flags]"].join(" ");
}

/** `--role ROLE`, `--quick`, `NODE`. */
export function spelling({ label, type, repeated, key, bare }: Option): string {
  if (bare !== undefined) return `${label}[=${key === "wait" ? "TIME" : "ID"}]`;
  if (!label.startsWith("--") || (type === "boolean" && !repeated)) return label;
  const placeholder: Readonly<Record<string, string>> = {
    server: "URL",
    context: "FILE",
    logFile: "FILE",
    timeout: "TIME",
    data: "DIR",
    reason: "TEXT",
    override: "TEXT",
    fromFile: "FILE",
    deadline: "TIME",
    until: "TIME",
    try: "TIME",
    back: "TIME",
  };
  return `${label} ${placeholder[key] ?? label.slice(2).replaceAll("-", "_").toUpperCase()}`;
}

function explanation({ description, values, repeated, required, defaultValue, label, bare }: Option): string {
  const notes = [
    bare === undefined ? undefined : `alone: ${bare}`,
    values && !description.includes(values.join(", ")) ? `one of ${values.join(", ")}` : undefined,
    repeated ? "several with commas or by repeating the flag" : undefined,
    required && label.startsWith("--") ? "required" : undefined,
    hasDefault(defaultValue)
      ? `default ${Array.isArray(defaultValue) ? defaultValue.join(",") : String(defaultValue)}`
      : undefined,
  ].filter((note) => note !== undefined);
  return notes.length === 0 ? description : `${description.replace(/\.$/, "")} (${notes.join("; ")}).`;
}

function hasDefault(value: unknown): boolean {
  return value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0);
}

function globalFlagsOf(command: CommandSpec): readonly Option[] {
  const own = new Set(flagsOf(command).map(({ key }) => key));
  return globalOptions(command.effect !== "read").filter(({ key }) => !own.has(key));
}

function scenariosOf(program: Program, command: CommandSpec): readonly (readonly [string, string])[] {
  const first = command.help.examples[0]?.command ?? titleOf(program, command);
  const own = (command.help.scenarios ?? []).map(({ command: typed, does }) => [typed, does] as const);
  const generic: (readonly [string, string])[] = [[`${first} --format json`, "Hand the result to another program."]];
  if (command.perNode)
    generic.push([first.replace(/--nodes \S+/, "--nodes role=server"), "Ask the server nodes only."]);
  if (flagsOf(command).some(({ key }) => key === "filter"))
    generic.push([`${first.split(" --")[0]} --filter name~rack2`, "Show only what matches."]);
  if (command.effect !== "read")
    generic.push([`${first} --log-file /var/log/debvisor/changes.log`, "Keep a record of messages and result."]);
  return [...own, ...generic];
}

function isRemote(command: CommandSpec): boolean {
  return !/^None|on this machine only/.test(command.privilege);
}

function defaultPrecondition(command: CommandSpec): string {
  if (!isRemote(command)) return "None.";
  return "A context that names a gateway that can be reached: ./.debvisor/context.json, /etc/debvisor/context.json, --context FILE, or --server URL with DV_TOKEN.";
}

function defaultRecovery(command: CommandSpec): string {
  if (command.effect === "read") return "Nothing to recover.";
  return "Read the present state with the noun's show or list command, then repeat the command that sets the wanted state; repeating it does no harm.";
}

function troubleOf(command: CommandSpec): readonly (readonly [string, string])[] {
  const general = isRemote(command) ? GENERAL_TROUBLE : (["INVALID_ARGUMENT"] as const);
  const many: readonly ErrorCode[] = command.perNode ? ["NO_TARGETS", "TIMEOUT"] : [];
  const codes = [...new Set<ErrorCode>([...command.errors, ...many, ...general])];
  return codes.flatMap((code) => {
    const entry = errorEntry(code);
    return entry ? [[code, `${entry.summary} ${entry.remedy}`] as const] : [];
  });
}

function exitCodes(command: CommandSpec): readonly (readonly [string, string])[] {
  const meanings: (readonly [string, string])[] = [
    ["0", "success"],
    ["1", "general error"],
    ["2", "invalid arguments"],
    ["3", command.perNode ? "no node matched" : "not found"],
    ["4", command.perNode ? "connection failed, or no node answered" : "connection failed"],
    ["5", command.perNode ? "some nodes failed" : "operation failed"],
    ["6", "validation or a check failed"],
    ["124", "--timeout ran out"],
    ["130", "interrupted"],
  ];
  return meanings;
}

const INDENT = "  ";
const TERM_WIDTH = 30;

function renderSection({ title, lines = [], pairs = [] }: Section): string {
  const width = Math.min(TERM_WIDTH, Math.max(0, ...pairs.map(([term]) => term.length)));
  const drawn = pairs.flatMap(([term, text]) =>
    term.length > width
      ? [`${INDENT}${term}`, `${INDENT}${" ".repeat(width + 2)}${text}`]
      : [`${INDENT}${term.padEnd(width)}  ${text}`],
  );
  return [title, ...lines.map((line) => `${INDENT}${line}`), ...drawn].join("\n");
}

/** The kinds of errors with their exit codes, for the reference. */
export function kindTable(): readonly (readonly [string, string])[] {
  return Object.entries(ERROR_KINDS).map(
    ([kind, { http, exit, retryable }]) =>
      [kind, `HTTP ${http}, exit ${exit}${retryable ? ", may pass by itself" : ""}`] as const,
  );
}
