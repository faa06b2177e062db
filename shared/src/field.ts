// SPDX-License-Identifier: Apache-2.0
/**
 * What a zod field accepts, as a flag, an environment variable or a help text needs to know it. Command-line flags and
 * configuration keys are both made from schemas; this is the one place that looks inside zod. JSON Schema was the
 * alternative: it drops the line between "not given" and "default", and costs 10 ms at every start of a command.
 */
import type { z } from "zod";

/** The kind of text that a field is read from. */
export type FieldType = "string" | "number" | "boolean" | "object";

/** A field of an object schema. `type` is the element's type when `repeated`. */
export interface Field {
  readonly type: FieldType;
  readonly repeated: boolean;
  readonly required: boolean;
  readonly values: readonly string[] | undefined;
  readonly defaultValue: unknown;
  readonly description: string;
}

interface Definition {
  readonly type: string;
  readonly innerType?: z.ZodType;
  readonly in?: z.ZodType;
  readonly out?: z.ZodType;
  readonly element?: z.ZodType;
  readonly options?: readonly z.ZodType[];
  readonly entries?: Readonly<Record<string, string | number>>;
  readonly values?: readonly unknown[];
  readonly defaultValue?: unknown;
  readonly shape?: Readonly<Record<string, z.ZodType>>;
}

function definition(schema: z.ZodType): Definition {
  return schema._zod.def as unknown as Definition;
}

const ABSENT_ALLOWED = new Set(["optional", "default", "prefault", "catch"]);

/** Describes what a field's schema accepts. */
export function fieldOf(schema: z.ZodType): Field {
  let at = schema;
  let required = true;
  let defaultValue: unknown;
  let description = "";
  for (;;) {
    const def = definition(at);
    description ||= at.description ?? "";
    if (ABSENT_ALLOWED.has(def.type)) required = false;
    if (def.type === "default" || def.type === "prefault") defaultValue ??= def.defaultValue;
    if (!def.innerType) break;
    at = def.innerType;
  }
  return { ...coreOf(at), required, defaultValue, description };
}

function coreOf(schema: z.ZodType): Pick<Field, "type" | "repeated" | "values"> {
  const def = definition(schema);
  switch (def.type) {
    case "number":
      return scalar("number");
    case "boolean":
      return scalar("boolean");
    case "enum":
      return scalar("string", Object.values(def.entries ?? {}).map(String));
    case "literal":
      return scalar("string", (def.values ?? []).map(String));
    case "array":
      return def.element ? { ...fieldOf(def.element), repeated: true } : { ...scalar("string"), repeated: true };
    case "object":
    case "record":
      return scalar("object");
    case "pipe":
      return ofPipe(def);
    case "union":
      return ofUnion(def.options ?? []);
    default:
      return scalar("string");
  }
}

/* A list comes before text (`only: array | "a,b"`), a boolean before its spellings (`z.stringbool().or(z.boolean())`). */
function ofUnion(options: readonly z.ZodType[]): Pick<Field, "type" | "repeated" | "values"> {
  const cores = options.map((option) => fieldOf(option));
  return (
    cores.find(({ type }) => type === "boolean") ??
    cores.find(({ repeated }) => repeated) ??
    cores[0] ??
    scalar("string")
  );
}

function ofPipe(def: Definition): Pick<Field, "type" | "repeated" | "values"> {
  if (def.out && definition(def.out).type === "boolean") return scalar("boolean");
  return def.in ? fieldOf(def.in) : scalar("string");
}

function scalar(type: FieldType, values?: readonly string[]): Pick<Field, "type" | "repeated" | "values"> {
  return { type, repeated: false, values };
}

/** The fields of an object schema (through `default`, `optional` and the like), or undefined for any other schema. */
export function shapeOf(schema: z.ZodType): Readonly<Record<string, z.ZodType>> | undefined {
  let at = schema;
  for (let inner = definition(at).innerType; inner; inner = definition(at).innerType) at = inner;
  return definition(at).type === "object" ? definition(at).shape : undefined;
}

/** `expiresInDays` → `expires-in-days`. */
export function kebabCase(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `expiresInDays` → `EXPIRES_IN_DAYS`. */
export function upperSnakeCase(key: string): string {
  return kebabCase(key).replaceAll("-", "_").toUpperCase();
}

/**
 * Reads text as a field of this kind. Text that does not fit stays text, so that the schema's own message names it:
 * `"abc"` for a number is returned as it is and refused by the schema.
 */
export function readText(field: Pick<Field, "type" | "repeated">, text: string): unknown {
  if (field.repeated) {
    const list = text.trimStart().startsWith("[") ? parseJson(text) : undefined;
    if (Array.isArray(list)) return list;
    const parts = text.split(",").map((part) => part.trim());
    return parts.filter((part) => part !== "").map((part) => readText({ type: field.type, repeated: false }, part));
  }
  switch (field.type) {
    case "number":
      return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim()) ? Number(text) : text;
    case "boolean":
      return readBoolean(text);
    case "object":
      return parseJson(text) ?? text;
    case "string":
      return text;
  }
}

function readBoolean(text: string): boolean | string {
  if (/^(true|yes|on|1)$/i.test(text)) return true;
  if (/^(false|no|off|0)$/i.test(text)) return false;
  return text;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
