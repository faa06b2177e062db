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

/** Draws one object as lines of key and value; inner objects with dotted keys. */
export function renderRecord(value: unknown, style: TableStyle): string {
  const lines = flatten(value, "").flatMap(([key, inner]) =>
    cellsOf(key, inner, style).map((cell, line) => [bold(line === 0 ? key : "", style.color), tone(cell, style.color)]),
  );
  return lines.length === 0 ? "-" : draw(lines);
}

/* A list that would run over the edge of the screen stands one below the other. */
function cellsOf(key: string, value: unknown, { nowMs }: TableStyle): readonly string[] {
  const cell = formatCell(value, { value: key }, nowMs);
  return Array.isArray(value) && cell.length > LONG_LIST ? value.map(cellText) : [cell];
}

function flatten(value: unknown, prefix: string): readonly (readonly [string, unknown])[] {
  const isList = Array.isArray(value);
  const isPlainList = isList && value.every((item) => typeof item !== "object" || item === null);
  if (typeof value !== "object" || value === null || isPlainList) return [[prefix || "value", value]];
  return Object.entries(value).flatMap(([key, inner]) => flatten(inner, prefix === "" ? key : `${prefix}.${key}`));
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
