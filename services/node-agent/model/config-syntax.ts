// SPDX-License-Identifier: Apache-2.0
/** Finds the place of a fault in ini and JSON texts. YAML brings its own positions (drivers/config-files.ts). */
import type { SyntaxFault } from "./file-checks.ts";

/** The first fault of an ini text in the style of systemd and git; undefined when it is in order. Never throws. */
export function iniFault(text: string): SyntaxFault | undefined {
  let key: string | undefined;
  let continued = false;
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    const isContinuation = continued;
    continued = line.endsWith("\\") && !/^[#;]/.test(line);
    if (isContinuation || line === "" || /^[#;]/.test(line)) continue;
    if (line.startsWith("[")) {
      const section = /^\[([^[\]]+)\]\s*([#;].*)?$/.exec(line)?.[1];
      if (section === undefined) return { line: index + 1, key, problem: "a section is written [name]" };
      key = section;
      continue;
    }
    const name = /^([^=:]+?)\s*[=:]/.exec(line)?.[1];
    if (name === undefined) return { line: index + 1, key, problem: "neither a section nor key = value" };
    key = name;
  }
  return undefined;
}

/** One token of JSON after white space (RFC 8259 §2): string, number or literal, punctuation. */
const JSON_TOKEN =
  /[ \t\r\n]*(?:("(?:[ !#-[\]-\u{10ffff}]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)|([{}[\],:]))/uy;

/** What may come next. */
type Expected = "value" | "value-or-end" | "key" | "key-or-end" | "colon" | "comma-or-end" | "nothing";

const PROBLEMS: Readonly<Record<Expected, string>> = {
  value: "a value is expected here",
  "value-or-end": "a value or ] is expected here",
  key: "a key in double quotes is expected here",
  "key-or-end": "a key in double quotes or } is expected here",
  colon: "a colon is expected after the key",
  "comma-or-end": "a comma or the closing bracket is expected here",
  nothing: "the text should have ended before this",
};

/**
 * The first fault of a JSON text; undefined when it is in order, exactly when `JSON.parse` accepts it. Not `JSON.parse`
 * itself, because its message states the place only sometimes, and in words. Never throws.
 */
export function jsonFault(text: string): SyntaxFault | undefined {
  const open: Bracket[] = [];
  let expected: Expected = "value";
  let offset = 0;
  while (text.slice(offset).trim() !== "" || expected !== "nothing") {
    JSON_TOKEN.lastIndex = offset;
    const token = JSON_TOKEN.exec(text);
    const next: Expected | undefined = token === null ? undefined : following(expected, token, open);
    if (next === undefined) {
      const at = offset + (/^\s*/.exec(text.slice(offset))?.[0].length ?? 0);
      return { line: lineAt(text.trimEnd(), at), key: keyBefore(text, at), problem: PROBLEMS[expected] };
    }
    expected = next;
    offset = JSON_TOKEN.lastIndex;
  }
  return undefined;
}

type Bracket = "{" | "[";
type Action = "value" | "key" | "colon" | "comma" | "open" | "close";

const VALUES = { text: "value", scalar: "value", "{": "open", "[": "open" } as const;

/** What a token means where it stands; a token that is not listed may not stand there. */
const ACTIONS: Readonly<Record<Expected, Readonly<Partial<Record<string, Action>>>>> = {
  value: VALUES,
  "value-or-end": { ...VALUES, "]": "close" },
  key: { text: "key" },
  "key-or-end": { text: "key", "}": "close" },
  colon: { ":": "colon" },
  "comma-or-end": { ",": "comma", "}": "close", "]": "close" },
  nothing: {},
};

/** What may follow a token; undefined when the token may not stand here. Keeps the list of open brackets. */
function following(expected: Expected, token: RegExpExecArray, open: Bracket[]): Expected | undefined {
  const [, text, , mark] = token;
  const kind = text === undefined ? (mark ?? "scalar") : "text";
  switch (ACTIONS[expected][kind]) {
    case "value":
      return afterValue(open);
    case "key":
      return "colon";
    case "colon":
      return "value";
    case "comma":
      return open.at(-1) === "{" ? "key" : "value";
    case "open":
      return afterOpening(kind === "{" ? "{" : "[", open);
    case "close":
      return open.pop() === OPENING[kind] ? afterValue(open) : undefined;
    default:
      return undefined;
  }
}

const OPENING: Readonly<Partial<Record<string, Bracket>>> = { "}": "{", "]": "[" };

function afterOpening(bracket: Bracket, open: Bracket[]): Expected {
  open.push(bracket);
  return bracket === "{" ? "key-or-end" : "value-or-end";
}

function afterValue(open: readonly Bracket[]): Expected {
  return open.length === 0 ? "nothing" : "comma-or-end";
}

/** Number of the line (from 1) that an offset lies on. */
export function lineAt(text: string, offset: number): number {
  return text.slice(0, Math.max(offset, 0)).split("\n").length;
}

/** The last key that begins before an offset, in JSON or YAML; undefined when there is none. */
export function keyBefore(text: string, offset: number): string | undefined {
  const keys = text
    .slice(0, Math.max(offset, 0))
    .matchAll(/(?:^|[{,\n])[ \t\r\n-]*(?:"([^"\n]{1,100})"|([A-Za-z_][\w.-]{0,99}))[ \t]*:/g);
  const last = [...keys].at(-1);
  return last?.[1] ?? last?.[2];
}
