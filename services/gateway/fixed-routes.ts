// SPDX-License-Identifier: Apache-2.0
/** Routes that are no operations: health, metrics and the two API documents. */
import { METRICS_PERMISSION } from "@debvisor/proto-events/gateway";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { asyncapiDocument, withServer } from "./asyncapi.ts";
import { addDocs } from "./docs.ts";
import { createGuard, type GuardDeps } from "./guard.ts";
import { METRICS_TYPE, type Metrics } from "./metrics.ts";
import { openapiDocument } from "./openapi.ts";

export interface FixedRouteDeps extends GuardDeps {
  readonly metrics: Metrics;
  readonly version: string;
  /** Undefined when ready, otherwise what is missing. */
  readonly ready: () => string | undefined;
}

/** Paths that this file serves, for OPTIONS and 405. */
export const FIXED_PATHS = [
  "/healthz",
  "/readyz",
  "/metrics",
  "/docs",
  "/v1/openapi.json",
  "/v1/asyncapi.json",
  "/v1/events",
] as const;

const OPEN = { policy: { public: true } } as const;
const JSON_TYPE = "application/json; charset=utf-8";
const LOOPBACK = /^(::ffff:)?127\.|^::1$/;

/** Adds the routes. */
export function addFixedRoutes(app: FastifyInstance, deps: FixedRouteDeps): void {
  app.get("/healthz", { config: OPEN }, (_request, reply) => reply.type(JSON_TYPE).send('{"status":"live"}'));
  app.get("/readyz", { config: OPEN }, (_request, reply) => {
    const missing = deps.ready();
    const body = missing === undefined ? { status: "ready" } : { status: "starting", waitsFor: missing };
    return reply
      .code(missing === undefined ? 200 : 503)
      .type(JSON_TYPE)
      .send(JSON.stringify(body));
  });
  addMetrics(app, deps);
  // Made on the first request: half a megabyte of schemas that an idle gateway need not hold.
  const openapi = once(() => openapiDocument(deps.version));
  const asyncapi = once(() => asyncapiDocument(deps.version));
  app.get("/v1/openapi.json", { config: OPEN }, (_request, reply) =>
    reply.type(JSON_TYPE).send(JSON.stringify(openapi())),
  );
  app.get("/v1/asyncapi.json", { config: OPEN }, ({ host, protocol }, reply) =>
    reply.type(JSON_TYPE).send(JSON.stringify(withServer(asyncapi(), host, protocol === "https"))),
  );
  addDocs(app, openapi);
}

/** A collector on the same machine needs no key; from elsewhere the permission counts. */
function addMetrics(app: FastifyInstance, deps: FixedRouteDeps): void {
  const policy = {
    permission: METRICS_PERMISSION,
    rateClass: "read",
    operation: "gateway.metrics",
    audit: "none",
  } as const;
  const guard = createGuard(deps, policy, deps.metrics.route("GET", "/metrics"));
  app.route({
    method: "GET",
    url: "/metrics",
    config: { policy },
    onRequest: (request: FastifyRequest, reply: FastifyReply, done) => {
      if (LOOPBACK.test(request.ip) && request.headers.authorization === undefined) done();
      else guard(request, reply, done);
    },
    handler: async (_request, reply) => reply.type(METRICS_TYPE).send(await deps.metrics.render()),
  });
}

function once<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
