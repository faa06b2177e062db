// SPDX-License-Identifier: Apache-2.0
/** `dvctl config show --origin`: the settings of the commands themselves, and where each value came from. */
import { renderTable } from "@debvisor/shared/table";
import { z } from "zod";
import { type CommandSpec, EXIT } from "../command.ts";
import { settingsFiles } from "../settings.ts";

export const configShow: CommandSpec = {
  noun: "config",
  verb: "show",
  summary: "Show the settings of the commands, and where each value came from.",
  input: z.strictObject({ origin: z.boolean().default(false).describe("Also show the source of each value.") }),
  args: [],
  effect: "read",
  privilege: "None.",
  errors: ["CONFIG_INVALID"],
  help: {
    examples: [
      { command: "dvctl config show", does: "Show the settings in effect." },
      {
        command: "dvctl config show --origin",
        does: "Show for each whether default, file, environment or flag set it.",
      },
    ],
    scenarios: [
      {
        command: "DV_CLI_FORMAT=json dvctl config show --origin",
        does: "See an environment variable win over a file.",
      },
    ],
  },
  run: ({ settings, input, output, env }) => {
    const { origin: origins, timeoutMs: _timeoutMs, ...values } = settings;
    const items = Object.entries(origins).map(([key, origin]) => {
      const value = (values as Readonly<Record<string, unknown>>)[key] ?? null;
      return input["origin"] === true ? { key, value, origin } : { key, value };
    });
    const columns = [
      { heading: "KEY", value: "key" },
      { heading: "VALUE", value: "value" },
      ...(input["origin"] === true ? [{ heading: "ORIGIN", value: "origin" }] : []),
    ];
    output.result({ items }, () => renderTable(columns, items, { color: output.color, nowMs: Date.now() }));
    output.debug(`files: ${settingsFiles(env).join(", ")}`);
    return Promise.resolve(EXIT.ok);
  },
};
