// SPDX-License-Identifier: Apache-2.0
/** `dvctl man [NOUN] [VERB]`: the manual page as roff, for `man -l -`. */
import { z } from "zod";
import { resolveCommand } from "../argv.ts";
import { type CommandSpec, EXIT } from "../command.ts";
import { commandPage, programPage } from "../manual.ts";
import { version } from "../program.ts";

export const man: CommandSpec = {
  noun: "man",
  summary: "Print the manual page of dvctl or of one command (roff).",
  input: z.strictObject({
    noun: z.string().optional().describe("Noun of the command."),
    verb: z.string().optional().describe("Verb of the command."),
    secondWord: z.string().optional().describe("Second word of the verb, where it has two."),
  }),
  args: ["noun", "verb", "secondWord"],
  effect: "read",
  privilege: "None.",
  errors: [],
  help: {
    examples: [{ command: "dvctl man nodes list | man -l -", does: "Read the page of one command." }],
    scenarios: [{ command: "dvctl man > /usr/local/share/man/man1/dvctl.1", does: "Install the page of dvctl." }],
  },
  run: ({ input, program, output }) => {
    const words = [input["noun"], input["verb"], input["secondWord"]].filter((word) => typeof word === "string");
    const { command } = resolveCommand(program, words);
    output.line(command ? commandPage(program, command, version()) : programPage(program, version()));
    return Promise.resolve(EXIT.ok);
  },
};
