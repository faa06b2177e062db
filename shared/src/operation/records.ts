// SPDX-License-Identifier: Apache-2.0
/** What the engine writes into the audit trail about an operation. */
import type { RecordBody, RecordResult } from "@debvisor/proto-events/audit";
import type { Mode } from "@debvisor/proto-events/durable";
import { DvError } from "../errors.ts";
import type { Folded } from "./fold.ts";

/** Who asked, for what. */
export interface Asked {
  readonly ref: string;
  readonly operation: string | null;
  readonly actor: string;
  readonly user: string | null;
  readonly source: string | null;
  readonly action: string;
  readonly mode: Mode;
  readonly targets: readonly string[];
  readonly args: Record<string, unknown>;
  readonly reason: string | null;
  readonly override: string | null;
  readonly planDigest: string | null;
  readonly requestId: string | null;
  readonly traceId: string | null;
}

/** A record about what was asked. */
export function bodyOf(asked: Asked, kind: RecordBody["kind"], result: RecordResult | null): RecordBody {
  return { ...asked, targets: [...asked.targets], kind, result };
}

/** The result that an error stands for. */
export function resultOf(error: DvError, status: RecordResult["status"]): RecordResult {
  return { status, code: error.code, exitCode: error.exitCode, message: error.message };
}

const STATUS: Readonly<Record<string, RecordResult["status"]>> = {
  succeeded: "ok",
  failed: "failed",
  "rolled-back": "undone",
  cancelled: "undone",
  refused: "refused",
};

/** The outcome of an operation that has ended. */
export function outcomeBody(folded: Folded): RecordBody {
  const { state, error, changed } = folded;
  const status = state === "succeeded" && changed === false ? "unchanged" : (STATUS[state] ?? "unknown");
  const failure = error ? new DvError(error.code as never, error.message, { kind: error.kind }) : undefined;
  const exitCode = state === "succeeded" ? 0 : state === "refused" ? (failure?.exitCode ?? 5) : 5;
  return bodyOf(askedOf(folded), "outcome", {
    status,
    code: error?.code ?? null,
    exitCode,
    message: error?.message ?? null,
  });
}

/** What was asked, from the log. */
export function askedOf({ created }: Pick<Folded, "created">): Asked {
  return {
    ref: created.operation,
    operation: created.operation,
    actor: created.actor,
    user: created.user,
    source: created.source,
    action: created.type,
    mode: created.options.mode,
    targets: created.plan.targets.map(({ name }) => name),
    args: created.masked,
    reason: created.options.reason ?? null,
    override: created.options.override ?? null,
    planDigest: created.plan.digest,
    requestId: created.requestId,
    traceId: created.traceId,
  };
}
