// SPDX-License-Identifier: Apache-2.0
/**
 * Requests that change something: keyed, so that a repeat does not repeat the effect, and recorded as an event whatever comes
 * of them. The record is published beside the answer, never before it.
 */
import type { RegisteredOperation } from "@debvisor/proto-events/registry";
import type { DvError } from "@debvisor/shared/errors";
import type { FastifyReply, FastifyRequest } from "fastify";
import { type IdempotencyStore, requireKey, type StoredAnswer, type Ticket } from "./idempotency.ts";
import type { InputParts } from "./input.ts";
import { fateOf } from "./model/idempotency.ts";
import type { Outbox } from "./outbox.ts";
import { PROBLEM_TYPE, toHttpError, toProblem } from "./problem.ts";
import type { Call } from "./server.ts";

export interface MutationDeps {
  readonly idempotency: IdempotencyStore;
  readonly outbox: Outbox;
  /** Told of failures that are bugs. */
  readonly onInternal: (request: FastifyRequest, error: DvError) => void;
}

type Ask = (input: unknown, request: FastifyRequest, call: Call) => Promise<string>;

const JSON_TYPE = "application/json; charset=utf-8";
const MAKES = /^(create|register)/;

/** Status of a success: 201 where the operation's name says that something new exists now. */
export function successStatus({ name, spec }: RegisteredOperation): number {
  return spec.http?.method === "POST" && MAKES.test(name) ? 201 : 200;
}

/** Makes the handler of an operation with effect `change` or `destroy`. */
export function createMutation(
  deps: MutationDeps,
  operation: RegisteredOperation,
  read: (parts: InputParts) => { readonly input: unknown },
  ask: Ask,
) {
  return async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const { call } = request;
    if (!call) throw new TypeError("the request has not been checked");
    const key = requireKey(request.headers["idempotency-key"]);
    const { input } = read({ params: request.params, query: request.query, body: request.body });
    const begun = await deps.idempotency.begin({
      key,
      input,
      principal: call.principal.id,
      credential: request.headers.authorization ?? "",
      operation: `${operation.service}.${operation.name}`,
      idempotent: operation.spec.idempotent,
      timeoutMs: operation.spec.timeoutMs,
      method: request.method,
      path: request.url,
      requestId: request.id,
    });
    const replayed = "answer" in begun;
    const answer = replayed
      ? begun.answer
      : await execute(deps, operation, begun.ticket, () => ask(input, request, call), request);
    if (replayed) reply.header("idempotent-replayed", "true");
    if (answer.status >= 400) request.errorCode = codeOf(answer);
    record(deps.outbox, operation, request, reply, { status: answer.status, code: request.errorCode, replayed });
    call.span.end({ "http.response.status_code": answer.status }, request.errorCode ?? undefined);
    reply.code(answer.status).headers(answer.headers);
    await reply.send(answer.body);
  };
}

async function execute(
  deps: MutationDeps,
  operation: RegisteredOperation,
  ticket: Ticket,
  run: () => Promise<string>,
  request: FastifyRequest,
): Promise<StoredAnswer> {
  let answer: StoredAnswer;
  let error: DvError | undefined;
  try {
    answer = { status: successStatus(operation), headers: { "content-type": JSON_TYPE }, body: await run() };
  } catch (thrown) {
    error = toHttpError(thrown);
    if (error.kind === "internal") deps.onInternal(request, error);
    const [instance = "/"] = request.url.split("?");
    answer = {
      status: error.httpStatus,
      headers: { "content-type": PROBLEM_TYPE },
      body: JSON.stringify(toProblem(error, request.id, instance)),
    };
  }
  await deps.idempotency.settle(ticket, fateOf(error, operation.spec.idempotent), answer);
  return answer;
}

/** Publishes what came of a request that changes something. */
export function record(
  outbox: Outbox,
  { service, name }: RegisteredOperation,
  request: FastifyRequest,
  reply: FastifyReply | null,
  result: { readonly status: number; readonly code: string | null; readonly replayed: boolean },
): void {
  const principal = request.call?.principal.id ?? "unknown";
  const [path = "/"] = request.url.split("?");
  const operation = `${service}.${name}`;
  const ms = Math.round((reply?.elapsedTime ?? 0) * 100) / 100;
  const payload = { principal, source: request.ip, operation, method: request.method, path, ms, ...result };
  outbox.publish("call.recorded", payload, { subject: operation, actor: principal, requestId: request.id });
}

function codeOf(answer: StoredAnswer): string | null {
  try {
    const { code } = JSON.parse(answer.body) as { code?: unknown };
    return typeof code === "string" ? code : null;
  } catch {
    return null;
  }
}
