// SPDX-License-Identifier: Apache-2.0
/**
 * The HTTP server around the routes: limits, request ids, security headers, and problem documents for whatever goes wrong, down to
 * requests that Node itself cannot parse. Every route must declare its policy, or the server does not start.
 */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { createSecureContext } from "node:tls";
import { unreadable } from "@debvisor/shared/config";
import { DvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import type { Span } from "@debvisor/shared/telemetry";
import websocket from "@fastify/websocket";
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import type { Principal } from "./auth/principal.ts";
import type { GatewayConfig } from "./config.ts";
import type { RouteTimings } from "./metrics.ts";
import { nestsDeeperThan } from "./model/json-depth.ts";
import type { RateClass } from "./model/rate-limit.ts";
import { HttpError, headersOf, PROBLEM_TYPE, toHttpError, toProblem } from "./problem.ts";

/**
 * Who writes a route's calls to the audit trail. `none`: reads, of which only denials are recorded; `gateway`: changes that it
 * announces and concludes itself; `engine`: durable operations, of which the gateway records what does not reach the engine.
 */
export type AuditClass = "none" | "gateway" | "engine";

/** What a route declares: who may call it, how its calls are counted and recorded (RULES.md 27). */
export type RoutePolicy =
  | { readonly public: true }
  | {
      readonly permission: string;
      readonly rateClass: RateClass;
      readonly operation: string;
      readonly audit: AuditClass;
    };

/** What the gateway knows of a request beyond what Fastify does. */
export interface Call {
  readonly principal: Principal;
  readonly span: Span;
}

declare module "fastify" {
  interface FastifyContextConfig {
    policy?: RoutePolicy;
  }
  interface FastifyRequest {
    call: Call | null;
    timings: RouteTimings | null;
    /** Code of the error that the request ended with. */
    errorCode: string | null;
  }
}

export interface ServerDeps {
  readonly config: GatewayConfig;
  readonly log: Logger;
  /** Told of every answer of 400 and above. */
  readonly onProblem: (request: FastifyRequest, error: DvError) => void;
  /** Methods that a path knows, for 405 and OPTIONS; none for a path that does not exist. */
  readonly methodsOf: (path: string) => readonly string[];
}

const REQUEST_ID = /^[A-Za-z0-9._:-]{1,128}$/;
const CSP = "default-src 'none'; frame-ancestors 'none'";

/** Makes the server, without routes. */
export async function createServer(deps: ServerDeps): Promise<FastifyInstance> {
  const { config } = deps;
  const { limits } = config;
  const app = Fastify({
    ...(config.tls
      ? {
          https: {
            ...readTls(config.tls),
            minVersion: "TLSv1.2",
            maxHeaderSize: limits.headerBytes,
          },
        }
      : {}),
    ...(config.tls ? {} : { http: { maxHeaderSize: limits.headerBytes } }),
    logger: false,
    bodyLimit: limits.bodyBytes,
    requestTimeout: limits.requestTimeoutMs,
    maxRequestsPerSocket: limits.requestsPerConnection,
    keepAliveTimeout: 72_000,
    forceCloseConnections: true,
    return503OnClosing: false,
    requestIdHeader: false,
    genReqId: (raw: IncomingMessage) => {
      const given = raw.headers["x-request-id"];
      return typeof given === "string" && REQUEST_ID.test(given) ? given : randomUUID();
    },
    routerOptions: { maxParamLength: limits.urlBytes, ignoreTrailingSlash: false },
    onProtoPoisoning: "error",
    onConstructorPoisoning: "error",
    clientErrorHandler: refuseRaw,
    frameworkErrors: (error: unknown, request: unknown, reply: unknown) => {
      prepare(config, request as FastifyRequest, reply as FastifyReply);
      sendProblem(deps, error, request as FastifyRequest, reply as FastifyReply);
    },
  } as object) as unknown as FastifyInstance;
  if (limits.connections > 0) app.server.maxConnections = limits.connections;
  app.decorateRequest("call", null);
  app.decorateRequest("timings", null);
  app.decorateRequest("errorCode", null);
  addHooks(app, deps);
  addJsonParser(app, limits.jsonDepth);
  await app.register(websocket, {
    options: { maxPayload: config.events.messageBytes, perMessageDeflate: false, clientTracking: true },
  });
  return app;
}

/** @throws CONFIG_INVALID when a file cannot be read, or the key is not the certificate's */
function readTls({ cert, key }: { readonly cert: string; readonly key: string }): { cert: Buffer; key: Buffer } {
  const read = (file: string): Buffer => {
    try {
      return readFileSync(file);
    } catch (error) {
      throw unreadable(file, error);
    }
  };
  const files = { cert: read(cert), key: read(key) };
  try {
    createSecureContext(files);
  } catch (error) {
    throw new DvError("CONFIG_INVALID", `tls: ${cert} and ${key} are no certificate with its private key.`, {
      cause: error,
    });
  }
  return files;
}

function addHooks(app: FastifyInstance, deps: ServerDeps): void {
  const { urlBytes } = deps.config.limits;
  app.addHook("onRoute", ({ url, method, config: routeConfig }) => {
    const policy = routeConfig?.policy;
    if (!policy) throw new DvError("INTERNAL", `The route ${String(method)} ${url} declares no permission.`);
    if (!("public" in policy) && !policy.audit)
      throw new DvError("INTERNAL", `The route ${String(method)} ${url} declares no audit class.`);
  });
  app.addHook("onRequest", (request, reply, done) => {
    prepare(deps.config, request, reply);
    if (request.raw.url !== undefined && request.raw.url.length > urlBytes) {
      done(new HttpError(414, new DvError("REQUEST_TOO_LARGE", `The URL is longer than ${urlBytes} bytes.`)));
    } else done();
  });
  app.addHook("onResponse", (request, reply, done) => {
    request.timings?.observe(reply.statusCode, reply.elapsedTime);
    done();
  });
  app.setErrorHandler((error, request, reply) => sendProblem(deps, error, request, reply));
  app.setNotFoundHandler((request, reply) => answerUnknown(deps, request, reply));
}

function prepare(config: GatewayConfig, request: FastifyRequest, reply: FastifyReply): void {
  reply.header("x-request-id", request.id);
  reply.header("x-content-type-options", "nosniff");
  reply.header("content-security-policy", CSP);
  reply.header("referrer-policy", "no-referrer");
  reply.header("cache-control", "no-store");
  if (config.tls) reply.header("strict-transport-security", "max-age=31536000");
}

function addJsonParser(app: FastifyInstance, depth: number): void {
  const parse = app.getDefaultJsonParser("error", "error");
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", { parseAs: "string" }, (request, body, done) => {
    const text = typeof body === "string" ? body : body.toString("utf8");
    if (text === "") done(null, undefined);
    else if (nestsDeeperThan(text, depth))
      done(new DvError("INVALID_ARGUMENT", `The body nests deeper than ${depth} levels.`));
    else void parse(request, text, done);
  });
}

function answerUnknown(deps: ServerDeps, request: FastifyRequest, reply: FastifyReply): void {
  const [path = "/"] = request.url.split("?");
  const methods = deps.methodsOf(path);
  const allow = [...methods, "OPTIONS"].join(", ");
  if (methods.length === 0) throw new DvError("NOT_FOUND", `There is nothing at ${path}.`);
  if (request.method === "OPTIONS") {
    reply.code(204).header("allow", allow).send();
    return;
  }
  throw new HttpError(
    405,
    new DvError("INVALID_ARGUMENT", `${path} does not know ${request.method}; it knows ${allow}.`),
    { allow },
  );
}

function sendProblem(deps: ServerDeps, thrown: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const error = toHttpError(thrown);
  request.errorCode = error.code;
  deps.onProblem(request, error);
  if (reply.sent) return;
  const [instance = "/"] = request.url.split("?");
  reply.code(error.httpStatus);
  reply.headers(headersOf(error));
  if (error.httpStatus === 401) reply.header("www-authenticate", 'Bearer realm="debvisor"');
  reply.header("cache-control", "no-store");
  reply.type(PROBLEM_TYPE).send(JSON.stringify(toProblem(error, request.id, instance)));
}

/** Answers what Node could not read as a request at all. */
function refuseRaw(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) return void socket.destroy();
  const known = toHttpError(error);
  const problem =
    known.code === "INTERNAL" ? new DvError("INVALID_ARGUMENT", "This is not an HTTP/1.1 request.") : known;
  const requestId = randomUUID();
  const body = JSON.stringify(toProblem(problem, requestId));
  const head = [
    `HTTP/1.1 ${problem.httpStatus} Refused`,
    `content-type: ${PROBLEM_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    `x-request-id: ${requestId}`,
    "connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`);
}
