// SPDX-License-Identifier: Apache-2.0
/** What the audit trail says came of a change that the gateway forwarded. Pure. */
import type { RecordResult } from "@debvisor/proto-events/audit";
import type { ErrorKind } from "@debvisor/proto-events/errors";

/** What is looked at in an error. */
export interface Failure {
  readonly code: string;
  readonly kind: ErrorKind;
  readonly exitCode: number;
  readonly message: string;
}

const MAX_MESSAGE = 500;

/** Kinds with which a service says that it did not begin. */
const REFUSALS: ReadonlySet<ErrorKind> = new Set([
  "invalid-argument",
  "unauthenticated",
  "permission-denied",
  "not-found",
  "conflict",
  "precondition-failed",
  "validation-failed",
  "busy",
]);

/** Codes after which nobody knows whether there was an effect, besides those of kind timeout. */
const UNKNOWN: ReadonlySet<string> = new Set(["BUS_UNAVAILABLE", "MALFORMED_REPLY"]);

/** Result of a change that was forwarded. UNAVAILABLE means that nobody received it. */
export function outcomeOf(error: Failure | undefined): RecordResult {
  if (!error) return { status: "ok", code: null, exitCode: 0, message: null };
  const { code, kind } = error;
  if (kind === "timeout" || UNKNOWN.has(code)) return result("unknown", error);
  return result(REFUSALS.has(kind) || code === "UNAVAILABLE" ? "refused" : "failed", error);
}

/** Result of something that was asked for and not begun. */
export function refusalOf(error: Failure): RecordResult {
  return result("refused", error);
}

function result(status: RecordResult["status"], { code, exitCode, message }: Failure): RecordResult {
  return { status, code, exitCode, message: message.slice(0, MAX_MESSAGE) };
}
