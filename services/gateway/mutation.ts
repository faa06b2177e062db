// SPDX-License-Identifier: Apache-2.0
/**
 * Requests that change something: keyed, so that a repeat does not repeat the effect, conditional where If-Match says so, and
 * recorded. A durable operation is handed to the engine, which announces and records it itself; any other change is announced in
 * the audit trail before it is forwarded, and concluded before its answer. The event is published beside the answer.
 */
import type { RegisteredOperation } from "@debvisor/proto-events/registry";
import { DvError } from "@debvisor/shared/errors";
import type { FastifyReply, FastifyRequest } from "fastify";
import { attemptOf } from "./audit-attempt.ts";
import type { AuditTrail } from "./audit-trail.ts";
import { type Condition, type ConditionKind, readCondition, requireMatch } from "./condition.ts";
import { acceptedAnswer } from "./durable-answer.ts";
import { type IdempotencyStore, requireKey, type StoredAnswer } from "./idempotency.ts";
import type { InputParts } from "./input.ts";
import type { MaintenanceGate } from "./maintenance-gate.ts";
import { type Fate, fateOf } from "./model/idempotency.ts";
import { operationIdOf } from "./model/operation-id.ts";
import type { Outbox } from "./outbox.ts";
import { headersOf, PROBLEM_TYPE, toHttpError, toProblem } from "./problem.ts";
import type { Call } from "./server.ts";

export interface MutationDeps {
  readonly idempotency: IdempotencyStore;
  readonly outbox: Outbox;
  readonly trail: AuditTrail;
  readonly gate: MaintenanceGate;
  /** Told of failures that are bugs. */
  readonly onInternal: (request: FastifyRequest, error: DvError) => void;
}

/** Asks whoever answers an operation; with the id of the durable operation that the request is about to begin. */
export type Ask = (input: unknown, request: FastifyRequest, call: Call, operationId?: string) => Promise<string>;

/** How an operation is called: how its input is read, who is asked, and what If-Match means. */
export interface MutationRoute {
  readonly operation: RegisteredOperation;
  readonly read: (parts: InputParts) => { readonly input: unknown };
  readonly ask: Ask;
  readonly condition: ConditionKind;
  /** Asks for the object that the condition is about. */
  readonly askReader: Ask | undefined;
}

/** A request that has been checked and has its key. */
interface Checked {
  readonly request: FastifyRequest;
  readonly call: Call;
  readonly input: unknown;
  readonly condition: Condition;
  readonly key: string;
}

/** What came of a request: its answer, what becomes of its key, and what has to be recorded with the answer. */
interface Done {
  readonly answer: StoredAnswer;
  readonly fate: Fate;
  readonly conclude?: () => Promise<void>;
}

const JSON_TYPE = "application/json; charset=utf-8";
/** Codes with which a durable operation ends that the engine has no record of. */
const UNHEARD: ReadonlySet<string> = new Set(["UNAVAILABLE", "IDEMPOTENCY_KEY_REUSED"]);
const MAKES = /^(create|register)/;

/** Status of a success that answers at once: 201 where the operation's name says that something new exists now. */
export function successStatus({ name, spec }: RegisteredOperation): number {
  return spec.http?.method === "POST" && MAKES.test(name) ? 201 : 200;
}

/** Makes the handler of an operation with effect `change` or `destroy`. */
export function createMutation(deps: MutationDeps, route: MutationRoute) {
  const { operation } = route;
  const { spec } = operation;
  const run = spec.durable ? submit : perform;
  return async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const { call } = request;
    if (!call) throw new TypeError("the request has not been checked");
    const key = requireKey(request.headers["idempotency-key"]);
    const condition = readCondition(route.condition, request.headers["if-match"]);
    const { params, query, body } = request;
    const { input } = route.read({ params, query, body, headers: condition.fields });
    const begun = await deps.idempotency.begin({
      key,
      // Fields are part of the input already; a condition that is none makes the request another one as well.
      input: condition.object ? [input, request.headers["if-match"]] : input,
      principal: call.principal.id,
      credential: request.headers.authorization ?? "",
      operation: `${operation.service}.${operation.name}`,
      idempotent: spec.idempotent,
      durable: spec.durable !== undefined,
      timeoutMs: spec.timeoutMs,
      method: request.method,
      path: request.url,
      requestId: request.id,
    });
    const replayed = "answer" in begun;
    let answer: StoredAnswer;
    if (replayed) answer = begun.answer;
    else {
      const done = await run(deps, route, { request, call, input, condition, key });
      await Promise.all([deps.idempotency.settle(begun.ticket, done.fate, done.answer), done.conclude?.()]);
      answer = done.answer;
    }
    if (replayed) reply.header("idempotent-replayed", "true");
    if (answer.status >= 400) request.errorCode = codeOf(answer);
    record(deps.outbox, operation, request, reply, { status: answer.status, code: request.errorCode, replayed });
    call.span.end({ "http.response.status_code": answer.status }, request.errorCode ?? undefined);
    reply.code(answer.status).headers(answer.headers);
    await reply.send(answer.body);
  };
}

/** A change that the gateway forwards: announced, forwarded, concluded. What ends before it is announced left its key unused. */
async function perform(deps: MutationDeps, route: MutationRoute, checked: Checked): Promise<Done> {
  const { request, call, input, condition } = checked;
  const attempt = attemptOf(request, route.operation, input);
  const { object } = condition;
  try {
    if (object) await requireMatch(object, ({ spec }) => askObject(route, spec, checked));
    await deps.gate(route.operation, input, call.principal.id);
    await deps.trail.intend(attempt);
  } catch (thrown) {
    const error = failed(deps, request, thrown);
    deps.trail.refuse(attempt, error);
    return { answer: problemAnswer(error, request), fate: "release" };
  }
  try {
    const body = await route.ask(input, request, call);
    const answer = { status: successStatus(route.operation), headers: { "content-type": JSON_TYPE }, body };
    return { answer, fate: "keep", conclude: () => deps.trail.conclude(attempt, undefined) };
  } catch (thrown) {
    const error = failed(deps, request, condition.judge(toHttpError(thrown)));
    return {
      answer: problemAnswer(error, request),
      fate: fateOf(error, route.operation.spec.idempotent),
      conclude: () => deps.trail.conclude(attempt, error),
    };
  }
}

/** A durable operation: the engine records it, unless it never heard of it. */
async function submit(deps: MutationDeps, route: MutationRoute, checked: Checked): Promise<Done> {
  const { request, call, input, condition, key } = checked;
  const id = operationIdOf(call.principal.id, key);
  try {
    const json = await route.ask(input, request, call, id);
    return { answer: acceptedAnswer(route.operation, id, json), fate: "keep" };
  } catch (thrown) {
    const error = failed(deps, request, condition.judge(toHttpError(thrown)));
    if (UNHEARD.has(error.code)) deps.trail.refuse(attemptOf(request, route.operation, input), error);
    return { answer: problemAnswer(error, request), fate: fateOf(error, route.operation.spec.idempotent) };
  }
}

/** The object's reader takes those fields of the request that it knows: the parameters of their common path. */
function askObject(
  { askReader }: MutationRoute,
  reader: RegisteredOperation["spec"],
  { request, call, input }: Checked,
): Promise<string> {
  if (!askReader) throw new DvError("INTERNAL", "The route has no reader for its condition.");
  const known = Object.keys(reader.input.shape);
  const fields = Object.entries(input as Record<string, unknown>).filter(([name]) => known.includes(name));
  return askReader(Object.fromEntries(fields), request, call);
}

function failed(deps: MutationDeps, request: FastifyRequest, thrown: unknown): DvError {
  const error = toHttpError(thrown);
  if (error.kind === "internal") deps.onInternal(request, error);
  return error;
}

function problemAnswer(error: DvError, request: FastifyRequest): StoredAnswer {
  const [instance = "/"] = request.url.split("?");
  return {
    status: error.httpStatus,
    headers: { ...headersOf(error), "content-type": PROBLEM_TYPE },
    body: JSON.stringify(toProblem(error, request.id, instance)),
  };
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
