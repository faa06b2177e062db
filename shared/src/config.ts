// SPDX-License-Identifier: Apache-2.0
/**
 * Configuration: defaults, then files, then environment, then flags (REQUIREMENTS X-30). One schema declares everything;
 * the result is one frozen object together with where each value came from. This is the only file that reads
 * `process.env`; everything else is handed what it needs.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { LineCounter, Document as YamlDocument } from "yaml";
import type { z } from "zod";
import { DvError } from "./errors.ts";
import { fieldOf, readText, shapeOf, upperSnakeCase } from "./field.ts";

/** Environment variables as a record. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Where the values of a configuration come from. */
export interface ConfigSources {
  /** Name of the service or command; part of the names of its environment variables. */
  readonly service: string;
  /** YAML files, the later ones win. A file that does not exist is no error. */
  readonly files?: readonly string[] | undefined;
  /** Environment; default: that of the process. */
  readonly env?: Environment | undefined;
  /** Values from the command line by key; nested keys with dots (`listen.port`). Undefined ones count as not given. */
  readonly flags?: Readonly<Record<string, unknown>> | undefined;
}

/** A configuration that its schema accepted. */
export interface LoadedConfig<T> {
  /** The values; frozen to the last level. */
  readonly values: T;
  /** Where each value came from, by dotted key: `default`, `file PATH:LINE`, `environment NAME` or `flag --name`. */
  readonly origin: Readonly<Record<string, string>>;
}

/** A copy of the process's environment. */
export function readEnv(): Environment {
  return { ...process.env };
}

/** Name of the environment variable of a key: `DV_<SERVICE>_<KEY>`, nested keys with two underscores between. */
export function environmentName(service: string, path: readonly string[]): string {
  return `DV_${upperSnakeCase(service)}_${path.map(upperSnakeCase).join("__")}`;
}

/** Loads the configuration of a service. @throws CONFIG_INVALID naming source and key */
export function loadConfig<S extends z.ZodType>(schema: S, sources: ConfigSources): LoadedConfig<z.output<S>> {
  const found = new Found();
  for (const file of sources.files ?? []) readFile(schema, file, found);
  readEnvironment(schema, sources, found);
  readFlags(sources.flags ?? {}, schema, found);
  const parsed = schema.safeParse(found.values);
  if (!parsed.success) throw refusal(parsed.error.issues[0], found, sources);
  const origin: Record<string, string> = {};
  for (const { path } of leaves(schema)) origin[path.join(".")] = found.originOf(path) ?? "default";
  return { values: deepFreeze(parsed.data), origin };
}

/** What the sources say, before the schema has seen it. */
class Found {
  readonly values: Record<string, unknown> = {};
  readonly #origins = new Map<string, string>();

  set(path: readonly string[], value: unknown, origin: string): void {
    let at = this.values;
    for (const key of path.slice(0, -1)) {
      const next = at[key];
      at = isRecord(next) ? next : newRecord(at, key);
    }
    at[path.at(-1) ?? ""] = value;
    this.#origins.set(path.join("."), origin);
  }

  /** Origin of a key, or of the nearest key above it (an element of a list came with the list). */
  originOf(path: readonly PropertyKey[]): string | undefined {
    for (let length = path.length; length > 0; length--) {
      const origin = this.#origins.get(path.slice(0, length).join("."));
      if (origin !== undefined) return origin;
    }
    return undefined;
  }
}

function newRecord(parent: Record<string, unknown>, key: string): Record<string, unknown> {
  const record: Record<string, unknown> = {};
  parent[key] = record;
  return record;
}

interface Leaf {
  readonly path: readonly string[];
  readonly schema: z.ZodType;
}

function leaves(schema: z.ZodType, prefix: readonly string[] = []): readonly Leaf[] {
  return Object.entries(shapeOf(schema) ?? {}).flatMap(([key, field]) => {
    const path = [...prefix, key];
    return shapeOf(field) ? leaves(field, path) : [{ path, schema: field }];
  });
}

function readEnvironment(schema: z.ZodType, { service, env = readEnv() }: ConfigSources, found: Found): void {
  for (const { path, schema: field } of leaves(schema)) {
    const name = environmentName(service, path);
    const text = env[name];
    // Compose files and units pass variables on as empty text when they are not set.
    if (text !== undefined && text !== "") found.set(path, readText(fieldOf(field), text), `environment ${name}`);
  }
}

function readFlags(flags: Readonly<Record<string, unknown>>, schema: z.ZodType, found: Found): void {
  const fields = new Map(leaves(schema).map((leaf) => [leaf.path.join("."), leaf.schema]));
  for (const [key, given] of Object.entries(flags)) {
    if (given === undefined) continue;
    const origin = `flag --${upperSnakeCase(key).replaceAll("_", "-").toLowerCase()}`;
    const field = fields.get(key);
    found.set(key.split("."), field && typeof given === "string" ? readText(fieldOf(field), given) : given, origin);
  }
}

/* yaml takes 20 ms to load, and most commands and services have no file: it is loaded when there is one. */
const load = createRequire(import.meta.url);

function readFile(schema: z.ZodType, file: string, found: Found): void {
  const text = textOf(file);
  if (text === undefined) return;
  const { LineCounter: Counter, parseDocument } = load("yaml") as typeof import("yaml");
  const lines = new Counter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const [fault] = document.errors;
  if (fault)
    throw invalid(`${file}:${fault.linePos?.[0].line ?? 1}`, "", fault.message.split("\n")[0] ?? fault.message);
  const content: unknown = document.toJS();
  if (content === null || content === undefined) return;
  if (!isRecord(content)) throw invalid(`${file}:1`, "", "the file must hold keys and values");
  walkFile({ schema, file, document, lines, found }, content, []);
}

interface FileWalk {
  readonly schema: z.ZodType;
  readonly file: string;
  readonly document: YamlDocument;
  readonly lines: LineCounter;
  readonly found: Found;
}

function walkFile(
  walk: FileWalk,
  content: Readonly<Record<string, unknown>>,
  prefix: readonly string[],
  schema = walk.schema,
): void {
  const shape = shapeOf(schema) ?? {};
  for (const [key, value] of Object.entries(content)) {
    const path = [...prefix, key];
    const source = `${walk.file}:${lineOf(walk, path)}`;
    const field = Object.hasOwn(shape, key) ? shape[key] : undefined;
    if (!field) throw invalid(source, path.join("."), `unknown key; known here: ${Object.keys(shape).join(", ")}`);
    if (shapeOf(field) && isRecord(value)) walkFile(walk, value, path, field);
    else walk.found.set(path, value, `file ${source}`);
  }
}

function lineOf({ document, lines }: FileWalk, path: readonly string[]): number {
  const parent: unknown = path.length > 1 ? document.getIn(path.slice(0, -1), true) : document.contents;
  const items =
    (parent as { items?: readonly { key?: { value?: unknown; range?: readonly number[] } }[] } | null)?.items ?? [];
  const offset = items.find((item) => String(item.key?.value) === path.at(-1))?.key?.range?.[0];
  return offset === undefined ? 1 : lines.linePos(offset).line;
}

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw unreadable(file, error);
  }
}

/** A file that exists and cannot be read. */
export function unreadable(file: string, cause: unknown): DvError {
  const code = (cause as NodeJS.ErrnoException).code ?? "unknown cause";
  return new DvError("CONFIG_INVALID", `${file}: cannot be read (${code})`, { details: { source: file }, cause });
}

function refusal(issue: z.core.$ZodIssue | undefined, found: Found, { service, files = [] }: ConfigSources): DvError {
  const path = [...(issue?.path ?? []), ...(issue?.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : [])];
  const key = path.join(".");
  const origin = found.originOf(path);
  if (origin) return invalid(origin.replace(/^file /, ""), key, issue?.message ?? "refused");
  const places = [...files.slice(-1), `environment ${environmentName(service, path.map(String))}`].join(" or ");
  return invalid(service, key, `${issue?.message ?? "refused"}; set it in ${places}`);
}

function invalid(source: string, key: string, problem: string): DvError {
  return new DvError("CONFIG_INVALID", `${source}: ${key === "" ? "" : `${key}: `}${problem}`, {
    details: { source, key },
  });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    for (const inner of Object.values(value)) deepFreeze(inner);
    Object.freeze(value);
  }
  return value;
}
