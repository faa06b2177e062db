// SPDX-License-Identifier: Apache-2.0
/** The flags that every command takes, and the settings that follow from defaults, file, environment and flags. */
import { join } from "node:path";
import { type Environment, type LoadedConfig, loadConfig } from "@debvisor/shared/config";
import { DvError } from "@debvisor/shared/errors";
import { fieldOf, kebabCase } from "@debvisor/shared/field";
import { FORMATS } from "@debvisor/shared/output";
import { parseDuration } from "@debvisor/shared/units";
import { z } from "zod";
import { issueText } from "./wording.ts";

const SettingsSchema = z.strictObject({
  format: z.enum(FORMATS).default("table").describe("How the result is written: table, json or yaml."),
  server: z.string().optional().describe("URL of a gateway; replaces the servers of the context."),
  context: z.string().optional().describe("File that names servers and token."),
  timeout: z.coerce
    .string()
    .refine((text) => parseDuration(text) !== undefined, "a time such as 5 (seconds), 500ms or 2m")
    .optional()
    .describe("Longest time the command may take: 5 (seconds), 500ms, 2m. Exit code 124 when it runs out."),
  verbose: z.boolean().default(false).describe("Also print debug messages."),
  quiet: z.boolean().default(false).describe("Print no [INFO] messages."),
  logFile: z.string().min(1).optional().describe("File to which messages and result are appended, secrets masked."),
  noColor: z.boolean().default(false).describe("Print without colour; so does the variable NO_COLOR."),
});

/** Settings of a command run. */
export type Settings = z.output<typeof SettingsSchema> & {
  readonly timeoutMs: number | undefined;
  readonly origin: LoadedConfig<unknown>["origin"];
};

/** Every flag that all commands take. `confirm` is offered by commands that change something. */
export const GlobalFlags = SettingsSchema.extend({
  json: z.boolean().default(false).describe("Same as --format json."),
  help: z.boolean().default(false).describe("Print help and end."),
  version: z.boolean().default(false).describe("Print name and version and end."),
});

/** The flag of commands that change something. */
export const ConfirmFlag = z.object({ confirm: z.boolean().default(false).describe("Do it without asking.") });

/** Settings of all commands from defaults, files, `DV_CLI_*`, `DV_CONTEXT` and flags. @throws CONFIG_INVALID */
export function loadSettings(flags: Readonly<Record<string, unknown>>, env: Environment): Settings {
  const { json, help: _help, version: _version, confirm: _confirm, ...own } = flags;
  const effective = { ...own, ...(json === true && own["format"] === undefined ? { format: "json" } : {}) };
  if (json === true && effective.format !== "json")
    throw new DvError("INVALID_ARGUMENT", "--json contradicts --format");
  const issue = SettingsSchema.partial().safeParse(effective).error?.issues[0];
  if (issue) throw wrongFlag(issue);
  const { values, origin } = loadConfig(SettingsSchema, {
    service: "cli",
    files: settingsFiles(env),
    env: { ...env, DV_CLI_CONTEXT: env["DV_CONTEXT"] ?? env["DV_CLI_CONTEXT"] },
    flags: effective,
  });
  const named = Object.entries(origin).map(
    ([key, from]) => [key, env["DV_CONTEXT"] ? from.replace("DV_CLI_CONTEXT", "DV_CONTEXT") : from] as const,
  );
  return {
    ...values,
    timeoutMs: values.timeout === undefined ? undefined : parseDuration(values.timeout),
    origin: Object.fromEntries(named),
  };
}

function wrongFlag(issue: z.core.$ZodIssue): DvError {
  const key = String(issue.path[0] ?? "");
  const schema = SettingsSchema.shape[key as keyof typeof SettingsSchema.shape];
  return new DvError("INVALID_ARGUMENT", `--${kebabCase(key)}: ${issueText(issue, schema ? fieldOf(schema) : {})}`);
}

/** The files that settings are read from, the later ones win. */
export function settingsFiles(env: Environment): readonly string[] {
  const home = env["XDG_CONFIG_HOME"] || (env["HOME"] ? join(env["HOME"], ".config") : undefined);
  return ["/etc/debvisor/cli.yaml", ...(home ? [join(home, "debvisor/cli.yaml")] : [])];
}
