// SPDX-License-Identifier: Apache-2.0
/**
 * All that the audit service knows of an operation's log (`shared/operation/log-record.ts`): whether the operation can still
 * end by itself, and how it ended. Only an operation whose last end is recorded, or that has no log at all, is over.
 */
import type { RecordResult } from "@debvisor/proto-events/audit";

/** How far an operation got. `lives`: whoever owns it will write the outcome. */
export type OperationEnd =
  | { readonly state: "lives" }
  | { readonly state: "none" }
  | {
      readonly state: "ended";
      readonly atMs: number;
      readonly status: RecordResult["status"];
      readonly code: string | null;
      readonly message: string | null;
    };

/** Final state of an operation → status of its outcome. */
const STATUS: Readonly<Record<string, RecordResult["status"]>> = {
  succeeded: "ok",
  failed: "failed",
  "rolled-back": "undone",
  cancelled: "undone",
  refused: "refused",
};

/** Reads the records of one operation, oldest first. What cannot be understood counts as living. */
export function operationEnd(records: readonly { readonly text: string; readonly timeMs: number }[]): OperationEnd {
  let end: OperationEnd = { state: records.length === 0 ? "none" : "lives" };
  for (const { text, timeMs } of records) {
    const record = parsed(text);
    if (record?.["t"] === "end") end = ended(record, timeMs);
    else if (record?.["t"] !== "closed" && !(record?.["t"] === "claim" && end.state === "ended"))
      end = { state: "lives" };
  }
  return end;
}

function ended(record: Readonly<Record<string, unknown>>, atMs: number): OperationEnd {
  const status = STATUS[String(record["state"])];
  if (status === undefined) return { state: "lives" };
  const error = (record["error"] ?? {}) as { readonly code?: unknown; readonly message?: unknown };
  return {
    state: "ended",
    atMs,
    status: status === "ok" && record["changed"] === false ? "unchanged" : status,
    code: typeof error.code === "string" ? error.code : null,
    message: typeof error.message === "string" ? error.message : null,
  };
}

function parsed(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
