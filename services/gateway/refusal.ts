// SPDX-License-Identifier: Apache-2.0
/** What is recorded of requests that end before anybody is asked. */
import { wireName } from "@debvisor/proto-events/kit";
import type { RegisteredOperation } from "@debvisor/proto-events/registry";
import type { DvError } from "@debvisor/shared/errors";
import type { FastifyRequest } from "fastify";
import { attemptOf, rawInput } from "./audit-attempt.ts";
import type { AuditTrail } from "./audit-trail.ts";
import { record } from "./mutation.ts";
import type { Outbox } from "./outbox.ts";

/** Records what ended before it was forwarded: every refusal of a change, and every denial. Rates are told as events only. */
export function recordProblem(
  { outbox, trail }: { readonly outbox: Outbox; readonly trail: AuditTrail },
  operations: ReadonlyMap<string, RegisteredOperation>,
  request: FastifyRequest,
  error: DvError,
): void {
  const { policy } = request.routeOptions.config;
  if (!request.call || !policy || "public" in policy) return;
  const { operation: called } = policy;
  const operation = operations.get(called);
  const changes = operation !== undefined && operation.spec.effect !== "read";
  if (changes)
    record(outbox, operation, request, null, { status: error.httpStatus, code: error.code, replayed: false });
  if (error.code === "RATE_LIMITED" || !(changes || error.code === "PERMISSION_DENIED")) return;
  const [service = "", name = ""] = called.split(".");
  trail.refuse(attemptOf(request, { service, wire: wireName(name) }, rawInput(request)), error);
}
