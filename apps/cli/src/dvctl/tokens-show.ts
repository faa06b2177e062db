// SPDX-License-Identifier: Apache-2.0
/** `dvctl token show`: the token of the context, and nothing else, for `curl -H "Authorization: Bearer $(dvctl token show)"`. */
import { DvError } from "@debvisor/shared/errors";
import { z } from "zod";
import { type CommandSpec, EXIT } from "../command.ts";

export const tokensShow: CommandSpec = {
  noun: "tokens",
  verb: "show",
  summary: "Print the token of the current context, and nothing else.",
  input: z.strictObject({}),
  args: [],
  effect: "read",
  privilege: "The right to read the context file, on this machine only.",
  errors: ["CONTEXT_MISSING"],
  help: {
    examples: [{ command: "dvctl token show", does: "Print the token." }],
    scenarios: [
      {
        command: 'curl -H "Authorization: Bearer $(dvctl token show)" http://127.0.0.1:8420/v1/nodes',
        does: "Call the API without dvctl.",
      },
    ],
  },
  run: ({ context, output }) => {
    const { token } = context();
    if (token === undefined)
      throw new DvError("CONTEXT_MISSING", "The current context has no token: set DV_TOKEN, or give --context FILE.");
    output.result({ token }, () => token);
    return Promise.resolve(EXIT.ok);
  },
};
