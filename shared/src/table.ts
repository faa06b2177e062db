// SPDX-License-Identifier: Apache-2.0
/** Tables of a command: rows from a reply by the columns of its contract, and a plain list of keys for a single object. */
import { styleText } from "node:util";
import type { Column } from "@debvisor/proto-events/kit";
import Table from "cli-table3";
import { printable } from "./output.ts";
import { formatAge, formatBytes, formatDuration, SECOND_MS } from "./units.ts";

const TONES: Readonly<Record<string, "green" | "yellow" | "red" | "dim">> = {
  alive: "green",
  ok: "green",
  healthy: "green",
  passed: "green",
  running: "green",
  suspect: "yellow",
  degraded: "yellow",
  warn: "yellow",
  warned: "yellow",
  "timed-out": "yellow",
  lost: "red",
  error: "red",
  failed: "red",
  unhealthy: "red",
  critical: "red",
  unreachable: "red",
  refused: "red",
  disabled: "dim",
  skipped: "dim",
  stopped: "dim",
};

/** Length of a list, in characters, from which a record shows it one below the other. */
const LONG_LIST = 80;
/** Width, in characters, above which a list of objects is shown line by line. */
const WIDEST_TABLE = 150;

/** How a table is drawn. */
export interface TableStyle {
  readonly color: boolean;
  /** Time against which ages are counted, in milliseconds since 1970. */
  readonly nowMs: number;
}

/** The value at a dotted path of an object or list; undefined when something on the way is missing. */
export function valueAt(value: unknown, path: string): unknown {
  let at = value;
  for (const key of path.split(".")) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) return undefined;
    at = (at as Record<string, unknown>)[key];
  }
  return at;
}

/** Writes a value as a cell. A missing or null one is a dash. */
export function formatCell(value: unknown, column: Pick<Column, "value" | "as">, nowMs: number): string {
  if (value === undefined || value === null || value === "") return "-";
  if (Array.isArray(value)) return value.length === 0 ? "-" : value.map(cellText).join(",");
  if (column.as === "age") return formatAge(String(value), nowMs);
  if (typeof value !== "number") return cellText(value);
  switch (column.as) {
    case "bytes":
      return formatBytes(value);
    case "percent":
      return `${value.toFixed(value >= 99.95 || Number.isInteger(value) ? 0 : 1)} %`;
    case "duration":
      return formatDuration(/ms$/i.test(column.value) ? value : value * SECOND_MS);
    case "fixed2":
      return value.toFixed(2);
    default:
      return String(value);
  }
}

function cellText(value: unknown): string {
  const text = typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
  return printable(text).replaceAll(/\s*\n\s*/g, " ");
}

/** Draws rows under headings, aligned, without borders. */
export function renderTable(columns: readonly Column[], rows: readonly unknown[], style: TableStyle): string {
  const cells = rows.map((row) =>
    columns.map((column) => tone(formatCell(valueAt(row, column.value), column, style.nowMs), style.color)),
  );
  return draw([columns.map(({ heading }) => bold(heading, style.color)), ...cells]);
}

/**
 * Draws one object as lines of key and value, inner objects with dotted keys. Lists of objects follow as tables, unless these
 * would be too wide to read.
 */
export function renderRecord(value: unknown, style: TableStyle): string {
  const lines: (readonly string[])[] = [];
  const parts: string[] = [];
  for (const [key, inner] of flatten(value, "")) {
    const table = isListOfObjects(inner) ? tableOf(inner, style) : undefined;
    if (table !== undefined) parts.push(`${bold(key, style.color)}\n${table}`);
    else for (const [path, item] of flattenItems(inner, key)) lines.push(...linesOf(path, item, style));
  }
  if (lines.length > 0) parts.unshift(draw(lines));
  return parts.length === 0 ? "-" : parts.join("\n\n");
}

function linesOf(key: string, value: unknown, style: TableStyle): readonly (readonly string[])[] {
  return cellsOf(key, value, style).map((cell, line) => [
    bold(line === 0 ? key : "", style.color),
    tone(cell, style.color),
  ]);
}

/** A column for each key in order of appearance; undefined when the table would be too wide, or items hold tables themselves. */
function tableOf(items: readonly object[], style: TableStyle): string | undefined {
  const rows = items.map((item) => new Map(flatten(item, "")));
  if (rows.some((row) => [...row.values()].some(isListOfObjects))) return undefined;
  const keys = [...new Set(rows.flatMap((row) => [...row.keys()]))];
  const cells = rows.map((row) => keys.map((key) => formatCell(row.get(key), { value: key }, style.nowMs)));
  const widths = keys.map((key, at) => Math.max(key.length, ...cells.map((row) => row[at]?.length ?? 0)) + 2);
  if (widths.reduce((sum, width) => sum + width, 0) > WIDEST_TABLE) return undefined;
  return renderTable(
    keys.map((key, at) => ({ heading: headingOf(key), value: String(at) })),
    cells,
    style,
  );
}

/* `confirmedGeneration` is CONFIRMED GENERATION. */
function headingOf(key: string): string {
  return key.replaceAll(/([a-z0-9])([A-Z])/g, "$1 $2").toUpperCase();
}

/* A list that would run over the edge of the screen stands one below the other. */
function cellsOf(key: string, value: unknown, { nowMs }: TableStyle): readonly string[] {
  const cell = formatCell(value, { value: key }, nowMs);
  return Array.isArray(value) && cell.length > LONG_LIST ? value.map(cellText) : [cell];
}

function flatten(value: unknown, prefix: string): readonly (readonly [string, unknown])[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [[prefix || "value", value]];
  return Object.entries(value).flatMap(([key, inner]) => flatten(inner, prefix === "" ? key : `${prefix}.${key}`));
}

/* As `flatten`, with the items of lists under their numbers. */
function flattenItems(value: unknown, prefix: string): readonly (readonly [string, unknown])[] {
  return flatten(value, prefix).flatMap(([key, inner]) =>
    isListOfObjects(inner) ? inner.flatMap((item, at) => flattenItems(item, `${key}.${at}`)) : [[key, inner] as const],
  );
}

function isListOfObjects(value: unknown): value is readonly object[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((item) => typeof item === "object" && item !== null && !Array.isArray(item))
  );
}

const NO_BORDER = "";
const BORDERLESS = Object.fromEntries(
  [
    "top",
    "top-mid",
    "top-left",
    "top-right",
    "bottom",
    "bottom-mid",
    "bottom-left",
    "bottom-right",
    "left",
    "left-mid",
    "mid",
    "mid-mid",
    "right",
    "right-mid",
  ].map((name) => [name, NO_BORDER] as const),
);

function draw(lines: readonly (readonly string[])[]): string {
  const table = new Table({
    chars: { ...BORDERLESS, middle: "  " },
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [] },
  });
  for (const line of lines) table.push([...line]);
  return table
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

function bold(text: string, color: boolean): string {
  return color ? styleText("bold", printable(text), { validateStream: false }) : printable(text);
}

/** A word in the colour of what it means: `ok` green, `lost` red. */
export function toned(text: string, color: boolean): string {
  return tone(printable(text), color);
}

function tone(text: string, color: boolean): string {
  const style = color && Object.hasOwn(TONES, text) ? TONES[text] : undefined;
  return style ? styleText(style, text, { validateStream: false }) : text;
}
