// SPDX-License-Identifier: Apache-2.0
/** Canonical JSON (RFC 8785): one value, one text. What is signed or hashed is written in it. */
import canonicalize from "canonicalize";

/**
 * Writes a value as canonical JSON; object fields that are undefined are left out.
 * @throws TypeError for what has no JSON: undefined, NaN, infinite numbers, lone surrogates, cycles
 */
export function canonicalJson(value: unknown): string {
  let text: string | undefined;
  try {
    text = canonicalize(value);
  } catch (error) {
    throw new TypeError("this value has no canonical JSON", { cause: error });
  }
  if (text === undefined) throw new TypeError("this value has no canonical JSON");
  return text;
}
