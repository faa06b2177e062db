// SPDX-License-Identifier: Apache-2.0
/**
 * What becomes of a request with an Idempotency-Key: whether a repeat runs, waits, or gets the stored answer, and whether an
 * answer is stored at all. The rule behind it: a repeat never does the thing a second time unless that is harmless.
 */
import type { ErrorKind } from "@debvisor/proto-events/errors";

/** What decides about a repeat. */
export interface StoredRequest {
  readonly state: "pending" | "done" | "unknown";
  readonly fingerprint: string;
  readonly startedAtMs: number;
  /** Whether the answer was kept; one that was too large is not. */
  readonly answered: boolean;
}

/** What is known of the repeat. */
export interface Repeat {
  readonly fingerprint: string;
  readonly idempotent: boolean;
  /** Carries its operation's id, under which the engine answers any repeat with the same operation. */
  readonly durable: boolean;
  readonly timeoutMs: number;
}

/** What happens with a repeat. */
export type RepeatVerdict = "replay" | "in-progress" | "reused" | "take-over" | "lost";

/** Time on top of the operation's own after which a pending request counts as one whose gateway died. */
const GRACE_MS = 5_000;

/**
 * Judges a request whose key is known. `take-over`: the service is asked again, for its gateway died and the operation may run
 * twice, or the operation is durable and does not run twice; `lost`: its gateway died and nobody knows what it did.
 */
export function judgeRepeat(stored: StoredRequest, request: Repeat, nowMs: number): RepeatVerdict {
  if (stored.fingerprint !== request.fingerprint) return "reused";
  if (request.durable && (stored.state === "pending" || !stored.answered)) return "take-over";
  if (stored.state !== "pending") return "replay";
  if (nowMs - stored.startedAtMs < request.timeoutMs + GRACE_MS) return "in-progress";
  return request.idempotent ? "take-over" : "lost";
}

/** What is done with the record once the request has been answered. */
export type Fate = "keep" | "release" | "unknown";

/**
 * Judges an answer. Results and refusals are kept. Released, so that the same key may try again: refusals that are over
 * in a moment (busy, nobody answers) and, where a second run is harmless, failures with unknown effect. Those of other
 * operations are kept as unknown: a repeat gets the same answer, and the caller has to look before it takes a new key.
 */
export function fateOf(
  error: { readonly code: string; readonly kind: ErrorKind } | undefined,
  idempotent: boolean,
): Fate {
  if (!error) return "keep";
  if (error.code === "UNAVAILABLE" || error.code === "AUDIT_UNAVAILABLE" || error.kind === "busy") return "release";
  if (error.kind === "unavailable" || error.kind === "timeout" || error.kind === "internal")
    return idempotent ? "release" : "unknown";
  return "keep";
}
