// SPDX-License-Identifier: Apache-2.0
/**
 * Checks the syntax of configuration texts: YAML 1.2 by the yaml package (loaded on first use), JSON and ini by the model.
 * A schema can be checked on top, so that a wrong value is named by line and key as a misplaced comma is.
 */
import type { z } from "zod";
import { iniFault, jsonFault, keyBefore, lineAt } from "../model/config-syntax.ts";
import type { SyntaxFault } from "../model/file-checks.ts";

/** Suffixes that can be checked. */
export const CHECKED_SUFFIX = /\.(ya?ml|json|ini)$/;

/**
 * The first fault of a text, by the suffix of its path; undefined when it is in order or of no known kind. The schema is
 * checked on YAML only. Never throws.
 */
export async function findFault(path: string, text: string, schema?: z.ZodType): Promise<SyntaxFault | undefined> {
  switch (CHECKED_SUFFIX.exec(path)?.[1]) {
    case "ini":
      return iniFault(text);
    case "json":
      return jsonFault(text);
    case "yaml":
    case "yml":
      return await yamlFault(text, schema);
    default:
      return undefined;
  }
}

async function yamlFault(text: string, schema: z.ZodType | undefined): Promise<SyntaxFault | undefined> {
  const { isNode, parseAllDocuments } = await import("yaml");
  const documents = [...parseAllDocuments(text, { prettyErrors: false, logLevel: "error" })];
  for (const { errors } of documents) {
    const [error] = errors;
    if (error === undefined) continue;
    const [offset] = error.pos;
    return { line: lineAt(text, offset), key: keyBefore(text, offset), problem: error.message };
  }
  const [document] = documents;
  if (schema === undefined || document === undefined) return undefined;
  const issue = issueOf(schema, () => document.toJS() ?? {});
  if (issue === undefined) return undefined;
  const node: unknown = issue.path.length > 0 ? document.getIn(issue.path, true) : undefined;
  const offset = isNode(node) ? (node.range?.[0] ?? 0) : 0;
  const key = issue.path.length > 0 ? issue.path.join(".") : undefined;
  return { line: lineAt(text, offset), key, problem: issue.message };
}

/** The first issue of a schema with the path to its cause. Aliases that multiply without end make `read` throw. */
function issueOf(schema: z.ZodType, read: () => unknown): { path: PropertyKey[]; message: string } | undefined {
  try {
    const issue = schema.safeParse(read()).error?.issues[0];
    if (issue === undefined) return undefined;
    const path = issue.code === "unrecognized_keys" ? [...issue.path, ...issue.keys.slice(0, 1)] : [...issue.path];
    return { path, message: issue.message };
  } catch (error) {
    return { path: [], message: error instanceof Error ? error.message : String(error) };
  }
}
