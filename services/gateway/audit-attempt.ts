// SPDX-License-Identifier: Apache-2.0
/** What the audit trail is told of a request: who asked for what, from where, to which targets. */
import { randomBytes } from "node:crypto";
import type { RecordBody } from "@debvisor/proto-events/audit";
import { Mode } from "@debvisor/proto-events/durable";
import { OperationId, Sha256 } from "@debvisor/proto-events/primitives";
import type { RegisteredOperation } from "@debvisor/proto-events/registry";
import { digestOf, maskArgs } from "@debvisor/shared/audit/mask";
import type { FastifyRequest } from "fastify";

/** A record without what came of it. */
export type Attempt = Omit<RecordBody, "kind" | "result">;

const MAX_USER = 200;
const MAX_REQUEST_ID = 64;
/** Fields that name what a request is about. */
const TARGET_FIELDS = ["node", "nodes", "unit", "operation", "token", "id", "to", "path"] as const;
const ENCODED = /base64$/i;

/** Who typed the request, as the client says in Dv-User: a claim that nobody checks, beside the actor, who is proven. */
export function userOf(request: FastifyRequest): string | undefined {
  const header = request.headers["dv-user"];
  if (typeof header !== "string") return undefined;
  const text = header.replace(/[^\x20-\x7e\xa0-\xff]/g, "").trim();
  return text === "" ? undefined : text.slice(0, MAX_USER);
}

/** Describes a request of a known caller. `input` is what was asked for, checked or not. */
export function attemptOf(
  request: FastifyRequest,
  { service, wire }: Pick<RegisteredOperation, "service" | "wire">,
  input: unknown,
): Attempt {
  const fields = isRecord(input) ? input : {};
  return {
    ref: refOf(request),
    actor: request.call?.principal.id ?? "unknown",
    user: userOf(request) ?? null,
    source: request.ip,
    action: `${service}.${wire}`,
    mode: Mode.safeParse(fields["mode"]).data ?? null,
    targets: targetsOf(fields),
    args: maskArgs(withoutContents(fields)),
    reason: textOf(fields["reason"]),
    override: textOf(fields["override"]),
    planDigest: Sha256.safeParse(fields["plan"]).data ?? null,
    operation: OperationId.safeParse(fields["operation"]).data ?? null,
    requestId: request.id,
    traceId: request.call?.span.context.traceId ?? null,
  };
}

/** Everything that a request carries, as far as it could be read; for requests that were refused before their check. */
export function rawInput({ params, query, body }: FastifyRequest): Record<string, unknown> {
  return { ...asRecord(query), ...asRecord(body), ...asRecord(params) };
}

/** An id that the client chose may come twice; what ties an intent to its outcome must not. */
function refOf(request: FastifyRequest): string {
  if (request.headers["x-request-id"] !== request.id) return request.id;
  return `${request.id.slice(0, MAX_REQUEST_ID)}.${randomBytes(8).toString("hex")}`;
}

function targetsOf(fields: Readonly<Record<string, unknown>>): string[] {
  return TARGET_FIELDS.flatMap((field) => {
    const value = fields[field];
    if (typeof value !== "string" || value === "") return [];
    return field === "nodes" ? value.split(",").map((part) => part.trim()) : [value];
  });
}

function withoutContents(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, ENCODED.test(name) ? digestOf(value) : value]),
  );
}

function textOf(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

function asRecord(value: unknown): Record<string, unknown> {
  return isRecord(value) ? value : {};
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
