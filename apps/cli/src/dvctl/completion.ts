// SPDX-License-Identifier: Apache-2.0
/** `dvctl completion SHELL`: completion for the shell, generated from the commands. */
import { z } from "zod";
import { type CommandSpec, EXIT } from "../command.ts";
import { completionScript, SHELLS } from "../completion.ts";

export const completion: CommandSpec = {
  noun: "completion",
  summary: "Print the completion script of a shell.",
  input: z.strictObject({ shell: z.enum(SHELLS).describe("bash, zsh or fish.") }),
  args: ["shell"],
  effect: "read",
  privilege: "None.",
  errors: [],
  help: {
    examples: [
      { command: "dvctl completion bash", does: "Print the script for bash." },
      { command: "source <(dvctl completion bash)", does: "Use it in this shell." },
    ],
    scenarios: [
      { command: "dvctl completion fish > ~/.config/fish/completions/dvctl.fish", does: "Use it in every fish." },
    ],
  },
  run: ({ input, program, output }) => {
    const shell = SHELLS.find((known) => known === input["shell"]) ?? "bash";
    output.line(completionScript(program, shell));
    return Promise.resolve(EXIT.ok);
  },
};
