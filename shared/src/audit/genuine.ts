// SPDX-License-Identifier: Apache-2.0
/** Checks the signature of one record. Apart from `record.ts`, so that the threads which do nothing else start quickly. */
import type { KeyObject } from "node:crypto";
import { isSigned } from "../bus/keys.ts";
import { canonicalJson } from "./canonical.ts";

/** Whether a line is canonical JSON and carries that key's signature over everything else in it. */
export function isGenuine(line: string, key: KeyObject): boolean {
  try {
    const record = JSON.parse(line) as { readonly sig?: unknown };
    const { sig } = record;
    if (typeof sig !== "string" || canonicalJson(record) !== line) return false;
    return isSigned(key, Buffer.from(withoutSignature(line, sig)), Buffer.from(sig, "base64url"));
  } catch {
    return false;
  }
}

/**
 * What was signed: canonical JSON without one of its members is canonical JSON. The last `"sig":` is the record's own: what
 * follows it are texts and lists of texts, in which a quotation mark is escaped.
 */
function withoutSignature(line: string, sig: string): string {
  const member = `"sig":${JSON.stringify(sig)},`;
  const start = line.lastIndexOf(member);
  if (start === -1) throw new TypeError("the signature is not where it belongs");
  return line.slice(0, start) + line.slice(start + member.length);
}
