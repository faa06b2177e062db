// SPDX-License-Identifier: Apache-2.0
/** How deeply a JSON text is nested, found without parsing it: a deep text costs the parser stack, and us nothing. */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** True when arrays and objects nest deeper than `limit`. Text that is no JSON gives any answer; the parser refuses it. */
export function nestsDeeperThan(text: string, limit: number): boolean {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (inString) {
      if (code === BACKSLASH) i++;
      else if (code === QUOTE) inString = false;
    } else if (code === QUOTE) inString = true;
    else if (code === 0x5b || code === 0x7b) {
      if (++depth > limit) return true;
    } else if (code === 0x5d || code === 0x7d) depth--;
  }
  return false;
}
