// SPDX-License-Identifier: Apache-2.0
/** Every operation that the contracts publish over HTTP becomes a route. There is no second list of them. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { allOperations, type RegisteredOperation } from "@debvisor/proto-events/registry";
import { CORE } from "@debvisor/proto-events/subjects";
import type { Bus } from "@debvisor/shared/bus/bus";
import { DvError } from "@debvisor/shared/errors";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { NodeDirectory } from "./directory.ts";
import { gather, startFanOut, stream } from "./fan-out.ts";
import { createGuard, type GuardDeps } from "./guard.ts";
import { type CheckedInput, inputReader } from "./input.ts";
import type { Metrics } from "./metrics.ts";
import { rateClassOf } from "./model/rate-limit.ts";
import { createMutation, type MutationDeps } from "./mutation.ts";
import type { OwnCall } from "./operations/handlers.ts";
import type { Call } from "./server.ts";

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

type Handler = (request: FastifyRequest, reply: FastifyReply) => unknown;

function handlerOf(deps: RouteDeps, operation: RegisteredOperation): Handler {
  const read = inputReader(operation);
  if (operation.spec.scope === "node") return fanOutHandler(deps, operation, read);
  const ask = asker(deps, operation);
  if (operation.spec.effect !== "read") return createMutation(deps, operation, read, ask);
  const cacheable = operation.spec.http?.method === "GET";
  return (request, reply) => {
    const { input } = read({ params: request.params, query: request.query, body: request.body });
    // Promises by hand: an async handler costs another two turns of the queue for every request.
    ask(input, request, callOf(request)).then(
      (json) => sendJson(request, reply, json, cacheable),
      (error: unknown) => reply.send(error),
    );
  };
}

/** The caller of a request that has passed the guard. */
export function callOf(request: FastifyRequest): Call {
  if (!request.call) throw new DvError("INTERNAL", "The request has not been checked.");
  return request.call;
}

type Ask = (input: unknown, request: FastifyRequest, call: Call) => Promise<string>;

/** How an operation of scope `core` is answered: by its service on the bus, or here. Either way with the JSON text of the data. */
function asker({ bus, own }: RouteDeps, { service, name, wire, spec }: RegisteredOperation): Ask {
  const { timeoutMs } = spec;
  if (service !== "gateway") {
    return (input, request, { principal, span }) =>
      bus.requestRaw(CORE, service, wire, input, {
        timeoutMs,
        requestId: request.id,
        actor: principal.id,
        traceparent: span.traceparent,
      });
  }
  const handler = own[name];
  if (!handler) throw new DvError("INTERNAL", `The gateway has no handler for ${name}.`);
  return async (input, request, { principal }) =>
    JSON.stringify(await handler(input as never, { principal, requestId: request.id, source: request.ip }));
}

function sendJson(request: FastifyRequest, reply: FastifyReply, json: string, cacheable: boolean): void {
  endSpan(request);
  reply.header("content-type", JSON_TYPE);
  if (!cacheable) return void reply.send(json);
  const etag = `"${createHash("sha256").update(json).digest("base64url")}"`;
  reply.header("etag", etag).header("cache-control", "private, no-cache");
  const known = request.headers["if-none-match"];
  if (known !== undefined && namesEtag(known, etag)) reply.code(304).send();
  else reply.send(json);
}

/** If-None-Match compares weakly (RFC 9110 §13.1.2), and proxies that compress make tags weak. */
function namesEtag(header: string, etag: string): boolean {
  return header.split(",").some((part) => {
    const tag = part.trim();
    return tag === "*" || tag === etag || tag === `W/${etag}`;
  });
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
    const options = { requestId: request.id, actor: call.principal.id, traceparent: call.span.traceparent };
    const fanOut = startFanOut(deps, operation, checked.nodes ?? "", checked.input, options);
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
