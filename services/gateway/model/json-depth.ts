// SPDX-License-Identifier: Apache-2.0
/** How deeply a JSON text is nested, found without parsing it: a deep text costs the parser stack, and us nothing. */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const BRACE_BIT = 0x20;
const OPEN = 0x7b;
const CLOSE = 0x7d;

/** True when arrays and objects nest deeper than `limit`. Text that is no JSON gives any answer; the parser refuses it. */
export function nestsDeeperThan(text: string, limit: number): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) i = endOfString(text, i);
    // `{` and `[`, and `}` and `]`, differ in one bit only.
    else if ((code | BRACE_BIT) === OPEN) depth++;
    else if ((code | BRACE_BIT) === CLOSE) depth--;
    if (depth > limit) return true;
  }
  return false;
}

function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length && text.charCodeAt(i) !== QUOTE) i += text.charCodeAt(i) === BACKSLASH ? 2 : 1;
  return i;
}
