// SPDX-License-Identifier: Apache-2.0
/**
 * Filter, sort and page for every list operation (DESIGN.md 8), pure. A cursor names the last item by sort key and id, so a
 * page goes on at the right place although items came and went meanwhile.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { DvError } from "./errors.ts";

/** The query of a list operation (`listQuery` of the contracts). */
export interface ListQuery {
  readonly filter?: string | undefined;
  readonly sort?: string | undefined;
  readonly limit: number;
  readonly cursor?: string | undefined;
}

/** What a list allows. */
export interface ListOptions<T> {
  /** Dotted paths that may be filtered and sorted by; `fieldsOf` makes them of a schema. A trailing `.*` allows any key. */
  readonly fields: readonly string[];
  /** Other spellings of fields, such as `role` for `roles`. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** Unique id of an item, at most 64 characters. */
  readonly id: (item: T) => string;
  /** Sort when the query names none; default: by id. */
  readonly sort?: string;
}

/** A page; `nextCursor` is null on the last one. */
export interface ListPage<T> {
  readonly items: T[];
  readonly nextCursor: string | null;
}

/** Characters of a text that sorting looks at; bounds the cursor to 500 characters. */
const KEY_LENGTH = 80;

/** Filters, sorts and cuts one page. @throws INVALID_ARGUMENT for an unknown field, a malformed filter or a foreign cursor */
export function paginate<T>(items: readonly T[], query: ListQuery, options: ListOptions<T>): ListPage<T> {
  const matches = compileFilter<T>(query.filter, options);
  const sort = parseSort(query.sort ?? options.sort, options);
  const digest = createHash("sha256")
    .update(JSON.stringify([sort, query.filter ?? ""]))
    .digest("base64url")
    .slice(0, 8);
  const after = query.cursor === undefined ? undefined : decodeCursor(query.cursor, digest);
  const order = (a: Position, b: Position) =>
    (sort.descending ? -1 : 1) * compareKeys(a.key, b.key) || compareText(a.id, b.id);
  const positioned = items
    .filter((item) => matches(item))
    .map((item) => ({
      item,
      id: options.id(item),
      key: keyOf(sort.path === undefined ? null : valuesAt(item, sort.path)),
    }))
    .filter((entry) => after === undefined || order(entry, after) > 0)
    .sort(order);
  const page = positioned.slice(0, query.limit);
  const last = page.at(-1);
  const more = positioned.length > page.length && last !== undefined;
  return { items: page.map(({ item }) => item), nextCursor: more ? encodeCursor(last, digest) : null };
}

/**
 * Makes a predicate of `field=value`, `field!=value` and `field~text` joined by commas; all must hold. An array matches when
 * one of its members does; `!=` holds when none is equal; `~` ignores case; null is written `null`; `\,` is a comma.
 * @throws INVALID_ARGUMENT
 */
export function compileFilter<T>(
  filter: string | undefined,
  options: Pick<ListOptions<T>, "fields" | "aliases">,
): (item: T) => boolean {
  const conditions = splitConditions(filter ?? "").map((text) => parseCondition<T>(text, options));
  return (item) => conditions.every((holds) => holds(item));
}

/** Dotted paths of the scalar fields of a schema's output, as `paginate` takes them. */
export function fieldsOf(schema: z.ZodType): readonly string[] {
  const root = z.toJSONSchema(schema, { io: "output", unrepresentable: "any" });
  return [...new Set(pathsOf(root as JsonSchema, ""))];
}

interface JsonSchema {
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly additionalProperties?: JsonSchema | boolean;
}

function pathsOf(schema: JsonSchema, path: string): string[] {
  const at = (name: string) => (path === "" ? name : `${path}.${name}`);
  const below = Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => pathsOf(inner, at(name)));
  const inArray = schema.items ? pathsOf(schema.items, path) : [];
  const inUnion = (schema.anyOf ?? []).flatMap((inner) => pathsOf(inner, path));
  const anyKey = typeof schema.additionalProperties === "object" ? [at("*")] : [];
  const all = [...below, ...inArray, ...inUnion, ...anyKey];
  // A nullable object can be compared with null, so its own path counts as well.
  return path !== "" && (all.length === 0 || schema.anyOf) ? [path, ...all] : all;
}

interface Sort {
  /** Undefined: by id alone. */
  readonly path: string | undefined;
  readonly descending: boolean;
}

/** Kind of value and its text: numbers sort before booleans before texts, what is missing comes last. */
type Key = readonly [kind: "n" | "b" | "s" | "z", text: string];

interface Position {
  readonly id: string;
  readonly key: Key;
}

function parseSort<T>(sort: string | undefined, options: ListOptions<T>): Sort {
  if (sort === undefined || sort === "") return { path: undefined, descending: false };
  const descending = sort.startsWith("-");
  return { path: knownField(descending ? sort.slice(1) : sort, options), descending };
}

function knownField<T>(name: string, { fields, aliases = {} }: Pick<ListOptions<T>, "fields" | "aliases">): string {
  const path = Object.hasOwn(aliases, name) ? (aliases[name] ?? name) : name;
  const known = fields.some((field) => (field.endsWith(".*") ? path.startsWith(field.slice(0, -1)) : field === path));
  if (!known) throw invalid(`Unknown field ${JSON.stringify(name)}.`, { field: name, known: fields });
  return path;
}

function splitConditions(filter: string): string[] {
  if (filter.trim() === "") return [];
  return filter.split(/(?<!\\),/).map((part) => part.replaceAll("\\,", ",").trim());
}

function parseCondition<T>(text: string, options: Pick<ListOptions<T>, "fields" | "aliases">): (item: T) => boolean {
  const [, name, operator, wanted] = /^([A-Za-z0-9_.-]+?)\s*(!=|=|~)\s*(.*)$/s.exec(text) ?? [];
  if (name === undefined || operator === undefined || wanted === undefined) {
    throw invalid(`${JSON.stringify(text)} is no condition; write field=value, field!=value or field~text.`, {
      condition: text,
    });
  }
  const path = knownField(name, options);
  const lower = wanted.toLowerCase();
  const isEqual = (value: unknown) =>
    String(value ?? null) === wanted || (typeof value === "number" && isSameNumber(value, wanted));
  const contains = (value: unknown) =>
    value !== null && value !== undefined && String(value).toLowerCase().includes(lower);
  return (item) => {
    const values = valuesAt(item, path);
    if (operator === "~") return values.some(contains);
    return values.some(isEqual) === (operator === "=");
  };
}

function isSameNumber(value: number, text: string): boolean {
  return text.trim() !== "" && Number(text) === value;
}

/** Every value at a dotted path, through arrays; `[undefined]` when there is none. */
function valuesAt(item: unknown, path: string): readonly unknown[] {
  let values: unknown[] = [item];
  for (const name of path.split(".")) {
    values = values
      .flatMap((value) => (Array.isArray(value) ? (value as unknown[]) : [value]))
      .map((value) => member(value, name));
  }
  const flat = values.flatMap((value) => (Array.isArray(value) ? (value as unknown[]) : [value]));
  return flat.length === 0 ? [undefined] : flat;
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
}

function keyOf(values: readonly unknown[] | null): Key {
  const [value] = values ?? [];
  if (value === null || value === undefined) return ["z", ""];
  if (typeof value === "number") return ["n", String(value)];
  if (typeof value === "boolean") return ["b", String(value)];
  const text = typeof value === "string" ? (values ?? []).join(",") : JSON.stringify(value);
  return ["s", text.slice(0, KEY_LENGTH).toWellFormed()];
}

function compareKeys(a: Key, b: Key): number {
  const order = "nbsz";
  if (a[0] !== b[0]) return order.indexOf(a[0]) - order.indexOf(b[0]);
  return a[0] === "n" ? compareNumbers(Number(a[1]), Number(b[1])) : compareText(a[1], b[1]);
}

function compareNumbers(a: number, b: number): number {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
  return a < b ? -1 : a > b ? 1 : 0;
}

/** By code unit, so that every process and every language setting sorts alike. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function encodeCursor({ id, key }: Position, digest: string): string {
  return Buffer.from(`${digest}\n${id}\n${key[0]}${key[1]}`).toString("base64url");
}

function decodeCursor(cursor: string, digest: string): Position {
  const [, made, id, kind, text] =
    /^([^\n]*)\n([^\n]*)\n([nbsz])(.*)$/s.exec(Buffer.from(cursor, "base64url").toString("utf8")) ?? [];
  if (made === undefined || id === undefined || text === undefined) throw invalid("The cursor is damaged.", {});
  if (made !== digest) throw invalid("The cursor belongs to a list with another filter or sort.", {});
  return { id, key: [kind as Key[0], text] };
}

function invalid(message: string, details: Record<string, unknown>): DvError {
  return new DvError("INVALID_ARGUMENT", message, { details });
}
