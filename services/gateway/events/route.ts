// SPDX-License-Identifier: Apache-2.0
/** `GET /v1/events`: the event stream as WebSocket or as Server-Sent Events. Mistakes are answered before the upgrade. */

import { CORE } from "@debvisor/proto-events/subjects";
import { type Clock, systemClock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import type { WebSocket } from "@fastify/websocket";
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from "fastify";
import type { Principal } from "../auth/principal.ts";
import type { GatewayConfig } from "../config.ts";
import type { NodeDirectory } from "../directory.ts";
import { EventQuery, QueryFault, type Subscription, toSubscription } from "../model/event-query.ts";
import { bucketOf } from "../model/rate-limit.ts";
import { HttpError, invalidInput } from "../problem.ts";
import type { EventHub } from "./hub.ts";
import { sseSink, websocketSink } from "./sinks.ts";
import type { EventStreams } from "./streams.ts";

export interface EventRouteDeps {
  readonly streams: EventStreams;
  readonly hub: EventHub;
  readonly directory: NodeDirectory;
  readonly config: GatewayConfig;
  readonly clock: Clock;
  /** Checks credential and permission; route hooks run before anything below. */
  readonly onRequest: RouteOptions["onRequest"];
  readonly principalOf: (request: FastifyRequest) => Principal;
  /** The policy that every route must declare. */
  readonly routeConfig: object;
}

/** Adds the route. */
export function addEventRoute(app: FastifyInstance, deps: EventRouteDeps): void {
  const prepared = new WeakMap<FastifyRequest, Subscription>();
  app.route({
    method: "GET",
    url: "/v1/events",
    exposeHeadRoute: false,
    config: deps.routeConfig,
    onRequest: deps.onRequest ?? [],
    preHandler: (request, _reply, done) => {
      prepared.set(request, prepare(deps, request));
      done();
    },
    handler: (request, reply) => openSse(deps, request, reply, must(prepared, request)),
    wsHandler: (websocket, request) => openWebsocket(deps, websocket, request, must(prepared, request)),
  });
}

function must(prepared: WeakMap<FastifyRequest, Subscription>, request: FastifyRequest): Subscription {
  const subscription = prepared.get(request);
  if (!subscription) throw new DvError("INTERNAL", "The request was not prepared.");
  return subscription;
}

function prepare(
  { streams, hub, directory, config, clock, principalOf }: EventRouteDeps,
  request: FastifyRequest,
): Subscription {
  const { origin } = request.headers;
  // Browsers alone send Origin; for them the list of pages counts, since they send along whatever credential they hold.
  if (origin !== undefined && !config.allowedOrigins.includes(origin)) {
    throw new DvError("PERMISSION_DENIED", "Pages of this origin may not open the event stream.", {
      details: { origin: origin.slice(0, 200) },
    });
  }
  const upgrade = request.headers.upgrade?.toLowerCase() === "websocket";
  if (!upgrade && !acceptsEventStream(request.headers.accept)) {
    throw new HttpError(406, new DvError("INVALID_ARGUMENT", "Ask for text/event-stream, or upgrade to a WebSocket."));
  }
  const parsed = EventQuery.safeParse(request.query);
  if (!parsed.success) throw invalidInput(parsed.error.issues);
  if (!hub.ready && hub.lastSeq === 0)
    throw new DvError("UNAVAILABLE", "The gateway has not opened the event stream yet.");
  streams.admit(principalOf(request));
  const lastEventId = request.headers["last-event-id"];
  const originOf = (ref: string) => (ref === CORE ? CORE : directory.find(ref)?.id);
  try {
    return toSubscription(
      parsed.data,
      typeof lastEventId === "string" ? lastEventId : undefined,
      clock.now(),
      originOf,
    );
  } catch (error) {
    if (error instanceof QueryFault) throw invalidInput([{ path: [error.field], message: error.message }]);
    throw error;
  }
}

function acceptsEventStream(accept: string | undefined): boolean {
  return accept === undefined || /text\/event-stream|text\/\*|\*\/\*/.test(accept);
}

function openSse(deps: EventRouteDeps, request: FastifyRequest, reply: FastifyReply, subscription: Subscription): void {
  reply.hijack();
  const response = reply.raw;
  response.writeHead(200, {
    ...(reply.getHeaders() as Record<string, string>),
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
  });
  response.flushHeaders();
  const stream = deps.streams.open(deps.principalOf(request), subscription, sseSink(response));
  const ping = setInterval(() => response.write(": ping\n\n"), deps.config.events.pingMs);
  response.on("error", () => response.destroy());
  response.on("close", () => {
    clearInterval(ping);
    stream.close();
  });
}

function openWebsocket(
  deps: EventRouteDeps,
  websocket: WebSocket,
  request: FastifyRequest,
  subscription: Subscription,
): void {
  const { messagesPerMinute, pingMs } = deps.config.events;
  const socket = request.raw.socket;
  socket.setNoDelay(true);
  const stream = deps.streams.open(deps.principalOf(request), subscription, websocketSink(websocket, socket));
  const incoming = bucketOf(messagesPerMinute, systemClock.monotonic());
  let missed = 0;
  // Subscribers have nothing to say; what they send is counted and dropped. Pings count as well: each is answered, and the
  // answers to one that does not read them would pile up here.
  const count = () => {
    if (incoming.take(systemClock.monotonic()) > 0) stream.end("flood");
  };
  websocket.on("message", count);
  websocket.on("ping", count);
  websocket.on("pong", () => {
    missed = 0;
  });
  const ping = setInterval(() => {
    if (++missed > 2) websocket.terminate();
    else if (websocket.readyState === websocket.OPEN) websocket.ping();
  }, pingMs);
  websocket.on("close", () => {
    clearInterval(ping);
    stream.close();
  });
}
