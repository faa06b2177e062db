// SPDX-License-Identifier: Apache-2.0
/**
 * Completion scripts for bash, zsh and fish. They hold the words themselves and ask nobody: a TAB that starts a process or
 * waits for a cluster is one that people switch off.
 */
import { globalOptions } from "./argv.ts";
import { argumentsOf, type CommandSpec, flagsOf, type Option, type Program, wordsOf } from "./command.ts";

/** Shells with a completion script. */
export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** The completion script of a program. */
export function completionScript(program: Program, shell: Shell): string {
  switch (shell) {
    case "bash":
      return bash(program);
    case "zsh":
      return zsh(program);
    case "fish":
      return fish(program);
  }
}

function allFlags(command: CommandSpec): readonly Option[] {
  const own = flagsOf(command);
  const names = new Set(own.map(({ key }) => key));
  return [...own, ...globalOptions(command.effect !== "read").filter(({ key }) => !names.has(key))];
}

function nounsOf({ commands }: Program): readonly string[] {
  return [...new Set(commands.map(({ noun }) => noun))].filter((noun) => noun !== "");
}

/* The first words of the verbs; `service` once, however many verbs begin with it. */
function verbsOf({ commands }: Program, wanted: string): readonly string[] {
  const verbs = commands.filter(({ noun }) => noun === wanted).flatMap(({ verb }) => verb?.split(" ", 1) ?? []);
  return [...new Set(verbs)];
}

/* Verbs of two words by their first one: `nodes service` → `restart`. */
function groupsOf({ commands }: Program): ReadonlyMap<string, readonly string[]> {
  const groups = new Map<string, readonly string[]>();
  for (const { noun, verb } of commands) {
    const [first = "", second] = verb?.split(" ") ?? [];
    const group = `${noun} ${first}`;
    if (second !== undefined) groups.set(group, [...(groups.get(group) ?? []), second]);
  }
  return groups;
}

/* One flag may mean different values to different commands (`--role`): all of them are offered. */
function valuesByFlag({ commands }: Program): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, Set<string>>();
  for (const { label, values } of commands.flatMap(allFlags)) {
    if (values) found.set(label, new Set([...(found.get(label) ?? []), ...values]));
  }
  return new Map([...found].map(([label, values]) => [label, [...values]]));
}

function functionName({ name }: Program): string {
  return `_${name.replaceAll("-", "_")}`;
}

function bash(program: Program): string {
  const name = functionName(program);
  const words = program.commands.map(
    (command) =>
      `    "${wordsOf(command).join(" ")}") flags="${allFlags(command)
        .map(({ label }) => label)
        .join(" ")}" args="${argumentsOf(command)[0]?.values?.join(" ") ?? ""}" ;;`,
  );
  const nouns = nounsOf(program).map((noun) => `    "${noun}") verbs="${verbsOf(program, noun).join(" ")}" ;;`);
  const groups = [...groupsOf(program)].map(
    ([group, seconds]) => `    "${group}") verbs="${seconds.join(" ")}" third="$second" ;;`,
  );
  const values = [...valuesByFlag(program)].map(
    ([flag, list]) => `    ${flag}) COMPREPLY=($(compgen -W "${list.join(" ")}" -- "$current")); return ;;`,
  );
  return `# bash completion for ${program.name}; generated
${name}() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" word noun="" verb="" second="" third="" verbs="" flags="" args=""
  case "$previous" in
${values.join("\n")}
    --context|--log-file|--data|--from-file) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in
      -*) ;;
      *) if [ -z "$noun" ]; then noun="$word"; elif [ -z "$verb" ]; then verb="$word"; elif [ -z "$second" ]; then second="$word"; fi ;;
    esac
  done
  case "$noun" in
${nouns.join("\n")}
    "") verbs="${nounsOf(program).join(" ")}" ;;
  esac
  case " $verbs " in *" $verb "*) [ -n "$verb" ] && verbs="" ;; esac
  case "$noun $verb" in
${groups.join("\n")}
    *) ;;
  esac
  case " $verbs " in *" $third "*) [ -n "$third" ] && verbs="" ;; esac
  case "$noun\${verb:+ $verb}\${third:+ $third}" in
${words.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$verbs $args $flags" -- "$current"))
}
complete -F ${name} ${program.name}`;
}

function zsh(program: Program): string {
  // zsh runs bash's functions through bashcompinit: one generator, one behaviour.
  return `#compdef ${program.name}
# zsh completion for ${program.name}; generated
autoload -U +X bashcompinit && bashcompinit
${bash(program)}`;
}

function fish(program: Program): string {
  const nouns = nounsOf(program).map((noun) => `complete -c ${program.name} -n __fish_use_subcommand -a ${noun}`);
  const global = globalOptions(true).map((option) => fishFlag(program, option, undefined));
  const commands = program.commands.flatMap((command) => fishCommand(program, command));
  return [
    `# fish completion for ${program.name}; generated`,
    `complete -c ${program.name} -f`,
    ...nouns,
    ...commands,
    ...global,
  ].join("\n");
}

function fishCommand(program: Program, command: CommandSpec): readonly string[] {
  const { noun, summary } = command;
  const inNoun = noun === "" ? "true" : `__fish_seen_subcommand_from ${noun}`;
  const words = wordsOf(command).slice(noun === "" ? 0 : 1);
  const offers = words.map((word, i) => {
    const seen = [inNoun, ...words.slice(0, i).map((before) => `__fish_seen_subcommand_from ${before}`)];
    const others = i === 0 ? verbsOf(program, noun) : (groupsOf(program).get(`${noun} ${words[0]}`) ?? []);
    const condition = `${seen.join("; and ")}; and not __fish_seen_subcommand_from ${others.join(" ")}`;
    return `complete -c ${program.name} -n ${quote(condition)} -a ${word} -d ${quote(summary)}`;
  });
  const here = [inNoun, ...words.map((word) => `__fish_seen_subcommand_from ${word}`)].join("; and ");
  const values = argumentsOf(command)[0]?.values;
  return [
    ...offers,
    ...flagsOf(command).map((option) => fishFlag(program, option, here)),
    ...(values ? [`complete -c ${program.name} -n ${quote(here)} -a ${quote(values.join(" "))}`] : []),
  ];
}

function fishFlag(
  { name }: Program,
  { label, description, type, repeated, values, bare }: Option,
  here: string | undefined,
): string {
  const condition = here === undefined ? "" : ` -n ${quote(here)}`;
  const takesValue = (type !== "boolean" || repeated) && bare === undefined ? " -r" : "";
  const choices = values ? ` -a ${quote(values.join(" "))}` : "";
  return `complete -c ${name}${condition} -l ${label.slice(2)}${takesValue}${choices} -d ${quote(description)}`;
}

function quote(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
