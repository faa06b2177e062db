// SPDX-License-Identifier: Apache-2.0
/**
 * Reads of a record what a verification needs, and checks no more: the schema would cost more than the hashes, and a record of
 * a newer version is as good as its signature.
 */
import type { AuditRecord } from "@debvisor/proto-events/audit";

/** The fields that were checked. */
export type ReadRecord = Pick<AuditRecord, "emitter" | "boot" | "n" | "prev" | "kind" | "ref" | "cred"> & {
  readonly result?: { readonly status?: unknown } | null;
};

/** Reads a line; undefined when it is no record. */
export function readRecord(line: string): ReadRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  return isRecord(value) ? value : undefined;
}

function isRecord(value: unknown): value is ReadRecord {
  if (typeof value !== "object" || value === null) return false;
  const { emitter, boot, n, prev, kind, ref, cred } = value as Partial<Record<keyof ReadRecord, unknown>>;
  const areTexts =
    typeof emitter === "string" && typeof boot === "string" && typeof kind === "string" && typeof ref === "string";
  const areTextsOrNull = (prev === null || typeof prev === "string") && (cred === null || typeof cred === "string");
  return areTexts && areTextsOrNull && Number.isSafeInteger(n) && (n as number) > 0;
}
