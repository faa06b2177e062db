// SPDX-License-Identifier: Apache-2.0
/** Checks the signature of one record. Apart from `record.ts`, so that the threads which do nothing else start quickly. */
import type { KeyObject } from "node:crypto";
import { isSigned } from "../bus/keys.ts";
import { canonicalJson } from "./canonical.ts";

/** Whether a line is canonical JSON and carries that key's signature over everything else in it. */
export function isGenuine(line: string, key: KeyObject): boolean {
  try {
    const { sig, ...rest } = JSON.parse(line) as Record<string, unknown>;
    if (typeof sig !== "string" || canonicalJson({ ...rest, sig }) !== line) return false;
    return isSigned(key, Buffer.from(canonicalJson(rest)), Buffer.from(sig, "base64url"));
  } catch {
    return false;
  }
}
