// SPDX-License-Identifier: Apache-2.0
/** Every operation that the contracts publish over HTTP becomes a route. There is no second list of them. */
import { Readable } from "node:stream";
import { allOperations, type RegisteredOperation } from "@debvisor/proto-events/registry";
import { CORE } from "@debvisor/proto-events/subjects";
import type { Bus, CallOptions } from "@debvisor/shared/bus/bus";
import { DvError } from "@debvisor/shared/errors";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { userOf } from "./audit-attempt.ts";
import { conditionKindOf } from "./condition.ts";
import type { NodeDirectory } from "./directory.ts";
import { namesEtag, quoted, type Tagger, taggerOf } from "./etag.ts";
import { gather, startFanOut, stream } from "./fan-out.ts";
import { createGuard, type GuardDeps } from "./guard.ts";
import { type CheckedInput, inputReader } from "./input.ts";
import type { Metrics } from "./metrics.ts";
import { rateClassOf } from "./model/rate-limit.ts";
import { type Ask, createMutation, type MutationDeps } from "./mutation.ts";
import type { OwnCall } from "./operations/handlers.ts";
import type { AuditClass, Call } from "./server.ts";

export interface RouteDeps extends GuardDeps, MutationDeps {
  readonly bus: Bus;
  readonly directory: NodeDirectory;
  readonly metrics: Metrics;
  /** Handlers of the gateway's own operations, by name. */
  readonly own: Readonly<Record<string, (input: never, call: OwnCall) => unknown>>;
}

const JSON_TYPE = "application/json; charset=utf-8";
const NDJSON_TYPE = "application/x-ndjson; charset=utf-8";

/** Path in the form that Fastify takes: `/v1/nodes/{node}` → `/v1/nodes/:node`. */
export function fastifyPath(path: string): string {
  return path.replace(/\{([^}]+)\}/g, ":$1");
}

/** Adds a route for every operation with `http`. Returns them, for OPTIONS and 405. */
export function addOperationRoutes(app: FastifyInstance, deps: RouteDeps): readonly RegisteredOperation[] {
  const operations = allOperations().filter(({ spec }) => spec.http !== null);
  for (const operation of operations) {
    const { http, permission, effect } = operation.spec;
    if (!http) continue;
    const policy = {
      permission,
      rateClass: rateClassOf(operation.name, effect),
      operation: `${operation.service}.${operation.name}`,
      audit: auditClassOf(operation),
    };
    app.route({
      method: http.method,
      url: fastifyPath(http.path),
      config: { policy },
      onRequest: createGuard(deps, policy, deps.metrics.route(http.method, http.path)),
      handler: handlerOf(deps, operation),
    });
  }
  return operations;
}

function auditClassOf({ spec }: RegisteredOperation): AuditClass {
  if (spec.effect === "read") return "none";
  return spec.durable ? "engine" : "gateway";
}

type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown;

function handlerOf(deps: RouteDeps, operation: RegisteredOperation): Handler {
  const read = inputReader(operation);
  if (operation.spec.scope === "node") return fanOutHandler(deps, operation, read);
  const ask = asker(deps, operation);
  if (operation.spec.effect !== "read") {
    const condition = conditionKindOf(operation, allOperations());
    const askReader = condition.kind === "object" ? asker(deps, condition.reader) : undefined;
    return createMutation(deps, { operation, read, ask, condition, askReader });
  }
  const waits = isWait(operation);
  const tag = operation.spec.http?.method === "GET" ? taggerOf(operation) : undefined;
  return (request, reply) => {
    const { input } = read({ params: request.params, query: request.query, body: request.body });
    // Promises by hand: an async handler costs another two turns of the queue for every request.
    ask(input, request, callOf(request)).then(
      (json) => isGone(reply) || sendJson(request, reply, json, tag),
      (error: unknown) => isGone(reply) || reply.send(error),
    );
    if (waits) reply.raw.once("close", () => endSpan(request));
  };
}

/** The caller of a request that has passed the guard. */
export function callOf(request: FastifyRequest): Call {
  if (!request.call) throw new DvError("INTERNAL", "The request has not been checked.");
  return request.call;
}

/** Time on top of what a caller wants to wait, until the gateway gives the service up. */
const WAIT_SLACK_MS = 5_000;

/** How an operation of scope `core` is answered: by its service on the bus, or here. Either way with the JSON text of the data. */
function asker({ bus, own }: RouteDeps, operation: RegisteredOperation): Ask {
  const { service, name, wire } = operation;
  if (service !== "gateway") {
    return (input, request, call, operationId) =>
      bus.requestRaw(CORE, service, wire, input, {
        ...callOptions(request, call),
        timeoutMs: timeoutOf(operation, input),
        operation: operationId,
      });
  }
  const handler = own[name];
  if (!handler) throw new DvError("INTERNAL", `The gateway has no handler for ${name}.`);
  return async (input, request, { principal }) =>
    JSON.stringify(await handler(input as never, { principal, requestId: request.id, source: request.ip }));
}

/** Who asks, from where and in which trace. */
function callOptions(request: FastifyRequest, { principal, span }: Call): CallOptions {
  return {
    requestId: request.id,
    actor: principal.id,
    user: userOf(request),
    source: request.ip,
    traceparent: span.traceparent,
  };
}

function isWait({ service, name }: RegisteredOperation): boolean {
  return service === "operation" && name === "waitOperation";
}

/** Whether the caller has left: somebody who waits for an operation may well do so before it ends. */
function isGone({ raw }: FastifyReply): boolean {
  return raw.destroyed && !raw.writableFinished;
}

/** A wait takes as long as its caller wants; anything else as long as its contract says. */
function timeoutOf(operation: RegisteredOperation, input: unknown): number {
  if (!isWait(operation)) return operation.spec.timeoutMs;
  return (input as { readonly seconds: number }).seconds * 1_000 + WAIT_SLACK_MS;
}

function sendJson(request: FastifyRequest, reply: FastifyReply, json: string, tag: Tagger | undefined): void {
  endSpan(request);
  reply.header("content-type", JSON_TYPE);
  if (!tag) return void reply.send(json);
  const etag = quoted(tag(json));
  reply.header("etag", etag).header("cache-control", "private, no-cache");
  const known = request.headers["if-none-match"];
  if (known !== undefined && namesEtag(known, etag)) reply.code(304).send();
  else reply.send(json);
}

function fanOutHandler(deps: RouteDeps, operation: RegisteredOperation, read: ReturnType<typeof inputReader>): Handler {
  if (operation.spec.effect !== "read")
    throw new DvError(
      "INTERNAL",
      `${operation.service}.${operation.name}: a fan-out over HTTP only reads; changes go through operations of scope core.`,
    );
  return (request, reply) => {
    const call = callOf(request);
    const checked: CheckedInput = read({ params: request.params, query: request.query, body: request.body });
    const fanOut = startFanOut(deps, operation, checked.nodes ?? "", checked.input, callOptions(request, call));
    const count = () => {
      deps.metrics.countCensus(fanOut.census.result);
      endSpan(request);
    };
    if (request.headers.accept?.includes("application/x-ndjson")) {
      const lines = Readable.from(stream(fanOut), { objectMode: false }).once("close", count);
      reply.header("content-type", NDJSON_TYPE).send(lines);
      return;
    }
    gather(fanOut).then(
      (json) => {
        count();
        reply.header("content-type", JSON_TYPE).send(json);
      },
      (error: unknown) => reply.send(error),
    );
  };
}

function endSpan(request: FastifyRequest): void {
  request.call?.span.end();
}
