// SPDX-License-Identifier: Apache-2.0
/** `dvctl help [NOUN] [VERB]`: the page that `--help` prints. */
import { z } from "zod";
import { resolveCommand } from "../argv.ts";
import { type CommandSpec, EXIT } from "../command.ts";
import { commandHelp, nounHelp, programHelp } from "../help.ts";

export const help: CommandSpec = {
  noun: "help",
  summary: "Explain a command.",
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
    examples: [
      { command: "dvctl help", does: "List the commands." },
      { command: "dvctl help nodes list", does: "Explain one command." },
    ],
  },
  run: ({ input, program, output }) => {
    const words = [input["noun"], input["verb"], input["secondWord"]].filter((word) => typeof word === "string");
    const { command, noun } = resolveCommand(program, words);
    output.line(
      command ? commandHelp(program, command) : noun === undefined ? programHelp(program) : nounHelp(program, noun),
    );
    return Promise.resolve(EXIT.ok);
  },
};
