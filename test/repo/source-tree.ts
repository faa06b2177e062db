// SPDX-License-Identifier: Apache-2.0
/**
 * The source tree as the repository tests see it: what git tracks or would track, and TypeScript files parsed into a
 * syntax tree (with the parser vitest brings, because TypeScript 7 has no JavaScript API), so that a comment or a
 * string that looks like code is no finding.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { parseAst } from "vitest/node";

/** The top of the repository. */
export const ROOT = path.resolve(import.meta.dirname, "..", "..");

/** A node of the syntax tree (ESTree with TypeScript). */
export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly [field: string]: unknown;
}

/** One parsed file. `path` is relative to the repository, with forward slashes. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
  readonly nodes: readonly SyntaxNode[];
}

/** Every file of the repository that git tracks or would add, sorted; ignored and deleted ones are left out. */
export function repositoryFiles(): string[] {
  const output = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: ROOT,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  const files = new Set(output.split("\0").filter((file) => file !== "" && existsSync(path.join(ROOT, file))));
  return [...files].sort();
}

/** Reads a file of the repository. */
export function readText(file: string): string {
  return readFileSync(path.join(ROOT, file), "utf8");
}

/** Parses every code file of the repository. */
export function sourceFiles(): SourceFile[] {
  return repositoryFiles()
    .filter((file) => /\.(?:ts|tsx|cjs|mjs|js)$/.test(file))
    .map((file) => parseSource(file, readText(file)));
}

/** Parses one text; `file` decides the language. */
export function parseSource(file: string, text: string): SourceFile {
  const lang = file.endsWith(".tsx") ? "tsx" : file.endsWith(".ts") ? "ts" : "jsx";
  const program = parseAst(text.replace(/^#!.*/, ""), { lang }) as unknown as SyntaxNode;
  return { path: file, text, nodes: [...walk(program)] };
}

/** `path:line` of a node, for a list of violations. */
export function placeOf(file: SourceFile, node: SyntaxNode): string {
  const line = file.text.replace(/^#!.*/, "").slice(0, node.start).split("\n").length;
  return `${file.path}:${line}`;
}

/** The value of a string literal or of a template without insertions before its first one. */
export function stringValue(node: unknown): string | undefined {
  if (!isNode(node)) return undefined;
  if (node.type === "Literal") return typeof node["value"] === "string" ? node["value"] : undefined;
  if (node.type !== "TemplateLiteral") return undefined;
  const [first] = node["quasis"] as readonly { value: { cooked: string | null } }[];
  return first?.value.cooked ?? undefined;
}

/** `a.b.c` of an identifier or a member chain, calls in between left out; `undefined` for anything else. */
export function dottedName(node: unknown): string | undefined {
  if (!isNode(node)) return undefined;
  if (node.type === "Identifier") return String(node["name"]);
  if (node.type === "CallExpression") return dottedName(node["callee"]);
  if (node.type !== "MemberExpression" || node["computed"] === true) return undefined;
  const object = dottedName(node["object"]);
  const property = dottedName(node["property"]);
  return object === undefined || property === undefined ? undefined : `${object}.${property}`;
}

export function isNode(value: unknown): value is SyntaxNode {
  return typeof value === "object" && value !== null && typeof (value as { type?: unknown }).type === "string";
}

function* walk(node: SyntaxNode): Generator<SyntaxNode> {
  yield node;
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (isNode(child)) yield* walk(child);
    }
  }
}
