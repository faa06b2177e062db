// SPDX-License-Identifier: Apache-2.0
/** Manual pages (roff, section 1) from the same sections as the help on the terminal (REQUIREMENTS X-27). */
import { globalOptions, pageNameOf } from "./argv.ts";
import { type CommandSpec, type Program, titleOf, wordsOf } from "./command.ts";
import { programUsage, sectionsOf, spelling } from "./help.ts";

/** The pages of a program by file name: one for the program, one for each command. */
export function manualPages(program: Program, version: string): ReadonlyMap<string, string> {
  if (program.single) {
    return new Map(
      program.commands.map((command) => [`${program.name}.1`, `${commandPage(program, command, version)}\n`]),
    );
  }
  const pages = program.commands.map(
    (command) => [`${program.name}-${pageNameOf(command)}.1`, `${commandPage(program, command, version)}\n`] as const,
  );
  return new Map([[`${program.name}.1`, `${programPage(program, version)}\n`], ...pages]);
}

/** The page of one command. */
export function commandPage(program: Program, command: CommandSpec, version: string): string {
  const title = titleOf(program, command);
  const lines = [
    header(title.replaceAll(" ", "-"), version),
    ".SH NAME",
    `${roff(title.replaceAll(" ", "-"))} \\- ${roff(command.summary)}`,
  ];
  for (const section of sectionsOf(program, command)) {
    lines.push(`.SH ${roff(section.title)}`);
    for (const text of section.lines ?? []) lines.push(".PP", roff(text));
    for (const [term, text] of section.pairs ?? []) lines.push(".TP", `\\fB${roff(term)}\\fR`, roff(text));
  }
  if (!program.single) lines.push(".SH SEE ALSO", `\\fB${roff(program.name)}\\fR(1)`);
  return lines.join("\n");
}

/** The page of a program: its commands and the flags that all of them take. */
export function programPage(program: Program, version: string): string {
  const commands = program.commands.flatMap((command) => [
    ".TP",
    `\\fB${roff(wordsOf(command).join(" "))}\\fR`,
    roff(command.summary),
  ]);
  const flags = globalOptions(false, program).flatMap((option) => [
    ".TP",
    `\\fB${roff(spelling(option))}\\fR`,
    roff(option.description),
  ]);
  const name = `${roff(program.name)} \\- ${roff(program.summary)}`;
  const usage = roff(programUsage(program));
  return [
    header(program.name, version),
    ".SH NAME",
    name,
    ".SH USAGE",
    ".PP",
    usage,
    ".SH COMMANDS",
    ...commands,
    ".SH FLAGS OF EVERY COMMAND",
    ...flags,
  ].join("\n");
}

/* No date: the same commands give the same page, so that a generated file changes only when they do. */
function header(title: string, version: string): string {
  return `.\\" Generated from the commands; do not edit.\n.TH "${roff(title.toUpperCase())}" "1" "" "DebVisor ${roff(version)}" "DebVisor"`;
}

/* Backslashes and dashes mean something to roff, and so does a dot or quote at the start of a line. */
function roff(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(/^([.'])/, "\\&$1");
}
