// SPDX-License-Identifier: Apache-2.0
/** Words for people about what they typed: what a value has to be, and what a misspelt word probably was. */
import type { z } from "zod";

/** What a refused value has to be, in words; `values` are those that the field takes, where they are known. */
export function issueText(
  issue: z.core.$ZodIssue | undefined,
  { values }: { readonly values?: readonly string[] | undefined } = {},
): string {
  if (values && (issue?.code === "invalid_value" || issue?.code === "invalid_union")) {
    return `must be one of ${values.join(", ")}`;
  }
  if (issue?.code === "too_small" || issue?.code === "too_big") return sizeText(issue);
  if (issue?.code === "invalid_type" && issue.expected === "number") return "must be a number";
  if (issue?.code === "invalid_type" && issue.expected === "int") return "must be a whole number";
  return issue?.message ?? "refused";
}

function sizeText(issue: z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig): string {
  const isSmall = issue.code === "too_small";
  const limit = isSmall ? issue.minimum : issue.maximum;
  const bound = isSmall ? "at least" : "at most";
  if (issue.origin === "string" && isSmall && limit === 1) return "must not be empty";
  const unit: Readonly<Record<string, string>> = { string: " characters", array: " values" };
  return `must be ${bound} ${limit}${unit[issue.origin] ?? ""}`;
}

/** What was probably meant, as the end of a sentence: a beginning that was typed, or the word fewest typing errors away. */
export function nearest(word: string, known: readonly string[]): string {
  const ranked = [...new Set(known)]
    .filter((other) => other !== "")
    .map((other) => ({ other, errors: word.length > 1 && other.startsWith(word) ? 0 : distance(word, other) }))
    .sort((a, b) => a.errors - b.errors);
  const [best] = ranked;
  return best && best.errors <= Math.min(2, Math.ceil(word.length / 2)) ? `, did you mean ${best.other}?` : "";
}

/* Typing errors between two words: a letter too many, too few, wrong, or two swapped (optimal string alignment). */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, column) => column)];
  const at = (row: number, column: number) => rows[row]?.[column] ?? Number.POSITIVE_INFINITY;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(
        Math.min(at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + same, swapped ? at(i - 2, j - 2) + 1 : 99),
      );
    }
  }
  return at(a.length, b.length);
}
