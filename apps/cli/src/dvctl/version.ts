// SPDX-License-Identifier: Apache-2.0
/** `dvctl version`: versions of the command and of its runtime. */
import { renderRecord } from "@debvisor/shared/table";
import { z } from "zod";
import { type CommandSpec, EXIT } from "../command.ts";
import { version } from "../program.ts";

export const versionCommand: CommandSpec = {
  noun: "version",
  summary: "Show the version of dvctl and of its runtime.",
  input: z.strictObject({}),
  args: [],
  effect: "read",
  privilege: "None.",
  errors: [],
  help: {
    examples: [{ command: "dvctl version", does: "Show the versions." }],
    scenarios: [{ command: "dvctl capabilities", does: "Show the version of the API instead." }],
  },
  run: ({ output, program }) => {
    const versions = { [program.name]: version(), node: process.versions.node };
    output.result(versions, () => renderRecord(versions, { color: output.color, nowMs: Date.now() }));
    return Promise.resolve(EXIT.ok);
  },
};
