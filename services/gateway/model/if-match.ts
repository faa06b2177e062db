// SPDX-License-Identifier: Apache-2.0
/** The header If-Match (RFC 9110 §13.1.1): reading it and comparing entity tags. Pure. */

/** What a caller's If-Match says: any representation, or one of these tags. Weak tags never match (strong comparison). */
export type IfMatch =
  | { readonly kind: "any" }
  | { readonly kind: "tags"; readonly strong: readonly string[]; readonly weak: number };

const TAG = /^(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"$/;
const MAX_TAGS = 20;

/** Reads the header's value; undefined when it is malformed. */
export function parseIfMatch(header: string): IfMatch | undefined {
  if (header.trim() === "*") return { kind: "any" };
  // Commas may stand inside of a tag, so the list is cut between a closing and an opening quote.
  const parts = header.trim().split(/(?<=")\s*,\s*(?=W\/"|")/);
  if (parts.length > MAX_TAGS) return undefined;
  const strong: string[] = [];
  let weak = 0;
  for (const part of parts) {
    const match = TAG.exec(part);
    if (!match) return undefined;
    if (match[1]) weak++;
    else strong.push(match[2] ?? "");
  }
  return { kind: "tags", strong, weak };
}

/** Whether the condition holds for the tag of the current representation, which is given without its quotes. */
export function holds(condition: IfMatch, current: string): boolean {
  return condition.kind === "any" || condition.strong.includes(current);
}
