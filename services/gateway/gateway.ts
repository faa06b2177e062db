// SPDX-License-Identifier: Apache-2.0
/** Puts the gateway together: what follows the bus, the routes, and what ends with it. */
import { NodeEntry } from "@debvisor/proto-events/discovery";
import { EVENTS_PERMISSION, gatewayContract } from "@debvisor/proto-events/gateway";
import { contract } from "@debvisor/proto-events/kit";
import { allOperations, CONTRACTS } from "@debvisor/proto-events/registry";
import { CORE } from "@debvisor/proto-events/subjects";
import { openEmitter } from "@debvisor/shared/audit/emitter";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import { causeChain, type DvError } from "@debvisor/shared/errors";
import type { ServiceContext } from "@debvisor/shared/service";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { AuditTrail } from "./audit-trail.ts";
import { AUDIT_WINDOW, FailureReporter } from "./auth/failures.ts";
import { allGrants } from "./auth/principal.ts";
import { TokenRecord } from "./auth/token-record.ts";
import { TokenStore } from "./auth/tokens.ts";
import type { GatewayConfig } from "./config.ts";
import { NodeDirectory } from "./directory.ts";
import { EventHub } from "./events/hub.ts";
import { addEventRoute } from "./events/route.ts";
import { EventStreams } from "./events/streams.ts";
import { addFixedRoutes, FIXED_PATHS } from "./fixed-routes.ts";
import { createGuard } from "./guard.ts";
import { IdempotencyRecord, IdempotencyStore } from "./idempotency.ts";
import { InstanceCensus } from "./instances.ts";
import { Limiter } from "./limiter.ts";
import { maintenanceGate } from "./maintenance-gate.ts";
import { addSources } from "./metric-sources.ts";
import { Metrics } from "./metrics.ts";
import { ownHandlers } from "./operations/handlers.ts";
import { Outbox } from "./outbox.ts";
import { recordProblem } from "./refusal.ts";
import { addOperationRoutes, callOf } from "./routes.ts";
import { createServer } from "./server.ts";
import { Starter } from "./starter.ts";
import { ProbeRecord, WriteProbe } from "./write-probe.ts";

/** A gateway that runs. */
export interface Gateway {
  readonly app: FastifyInstance;
  /** Undefined when ready, otherwise what it waits for. */
  ready(): string | undefined;
  stop(): Promise<void>;
}

/** Streams that changes through the gateway end up in, its own or those of the services behind it, besides the one that is probed by writing. */
const WRITTEN_STREAMS = ["DV_EVENTS", "DV_OPS", "DV_AUDIT", "KV_dv_tokens", "KV_dv_nodes"];

type Context = ServiceContext<GatewayConfig>;
type Parts = ReturnType<typeof createParts>;

/** Starts the gateway. It listens at once and answers 503 until the bus has brought what it needs. @throws PORT_BUSY */
export async function startGateway(context: Context, bus: Bus): Promise<Gateway> {
  const parts = createParts(context, bus);
  const starter = createStarter(context, bus, parts);
  const ready = () =>
    (bus.connected ? starter.waitsFor() : "the message bus") ??
    (parts.hub.ready ? undefined : "the event stream") ??
    parts.writes.fault;
  const app = await createApp(context, bus, parts, ready);
  try {
    await app.listen({ host: context.config.host, port: context.config.port });
  } catch (error) {
    await app.close();
    throw error;
  }
  starter.start();
  parts.streams.start();
  const stop = async () => {
    starter.stop();
    parts.streams.stop();
    for (const reporter of parts.failures) reporter.flush();
    const closing = app.close();
    await Promise.all([
      parts.hub.stop(),
      parts.tokens.stop(),
      parts.directory.stop(),
      parts.writes.stop(),
      parts.outbox.flush(1_500),
      parts.trail.flush(1_500),
      ...starter.opened.map((open) => open.stop()),
    ]);
    await closing;
  };
  return { app, ready, stop };
}

function createParts(context: Context, bus: Bus) {
  const { config, clock, log, node, tracing } = context;
  const metrics = new Metrics();
  const outbox = new Outbox(bus, log);
  const tokens = new TokenStore({ clock, log, grants: allGrants(allOperations()) });
  const trail = new AuditTrail({ clock, log, emitter: openEmitter({ bus, boot: node.bootId, clock, log }) });
  const failures = [
    new FailureReporter((report) => outbox.publish("auth.failed", report, { subject: report.source })),
    new FailureReporter((report) => trail.refuseSignIn(report), AUDIT_WINDOW),
  ];
  const limiter = new Limiter(config.rates, clock);
  limiter.onLimited = (principal, rateClass, limit) =>
    outbox.publish("caller.limited", { principal, rateClass, limit }, { subject: principal });
  const directory = new NodeDirectory();
  const idempotency = new IdempotencyStore({ clock, log, gateway: node.id });
  const instances = new InstanceCensus(bus, clock);
  const writes = new WriteProbe({ clock, node: node.id, othersReady: () => bus.ready(WRITTEN_STREAMS) });
  const hub = new EventHub(bus, log, { entries: config.events.bufferEntries, bytes: config.events.bufferBytes });
  const streams = new EventStreams({
    bus,
    hub,
    log,
    config: config.events,
    contracts: CONTRACTS,
    nodesJson: () =>
      JSON.stringify(directory.list().map(({ deleted: _mark, ...node }) => ({ ...node, metrics: null }))),
    current: (id) => tokens.current(id),
  });
  tokens.onInvalidated = (id) => streams.endOf(id);
  const own = ownHandlers({
    bus,
    clock,
    directory,
    instances,
    writes,
    tokens,
    outbox,
    cluster: node.cluster,
    version: node.version,
  });
  addSources(bus, metrics, { outbox, trail, directory, hub, streams });
  return {
    tracing,
    metrics,
    outbox,
    trail,
    gate: maintenanceGate(bus),
    tokens,
    failures,
    limiter,
    directory,
    idempotency,
    instances,
    hub,
    streams,
    own,
    writes,
  };
}

/** What has to come from the bus, each tried until it succeeds. */
function createStarter({ config, clock, log }: Context, bus: Bus, parts: Parts): Starter {
  const { tokens, directory, idempotency, hub, writes } = parts;
  const starter = new Starter(log, clock);
  starter.add("the API keys", async () => {
    const bucket = await bus.bucket("dv_tokens", TokenRecord);
    for (const token of config.bootstrapTokens) await enter(bucket, token, clock.now());
    await tokens.start(bucket);
  });
  starter.add("the node registry", async () => directory.start(await bus.bucket("dv_nodes", NodeEntry)));
  starter.add("the event stream", () => hub.start());
  starter.add("a first write", async () => {
    idempotency.use(await bus.bucket("dv_idempotency", IdempotencyRecord));
    await writes.start(await bus.bucket("dv_idempotency", ProbeRecord));
  });
  starter.add("the discovery service", async () => {
    await bus.requestRaw(CORE, "discovery", "list-nodes", { limit: 1 }, { timeoutMs: 2_000 });
  });
  starter.add("the service list", async () => {
    starter.opened.push(await serveOwn(bus, parts));
  });
  starter.check("the API keys", () => tokens.loaded);
  starter.check("the node registry", () => directory.loaded);
  return starter;
}

async function enter(
  bucket: Awaited<ReturnType<Bus["bucket"]>>,
  token: GatewayConfig["bootstrapTokens"][number],
  nowMs: number,
): Promise<void> {
  const fixed = {
    scopes: [],
    createdAt: new Date(nowMs).toISOString(),
    createdBy: "system",
    expiresAt: null,
    lastUsedAt: null,
    revokedAt: null,
  };
  try {
    await bucket.create(token.id, { ...token, ...fixed } satisfies TokenRecord);
  } catch (error) {
    if ((error as DvError).code !== "CONFLICT") throw error;
  }
}

/** Reads that need no caller are answered on the bus as well, which also shows the gateway among the services. */
function serveOwn(bus: Bus, { own, metrics }: Parts): Promise<Closable> {
  const { getStatus, listServices, listErrors } = gatewayContract.operations;
  const open = contract({
    service: "gateway",
    summary: gatewayContract.summary,
    operations: { getStatus, listServices, listErrors },
    events: {},
  });
  const handlers = {
    getStatus: own.getStatus as never,
    listServices: own.listServices as never,
    listErrors: own.listErrors as never,
  };
  return bus.serve(open, "core", handlers, () => metrics.totals());
}

async function createApp(
  context: Context,
  bus: Bus,
  parts: Parts,
  ready: () => string | undefined,
): Promise<FastifyInstance> {
  const { config, log, clock, node } = context;
  const operations = new Map(allOperations().map((operation) => [`${operation.service}.${operation.name}`, operation]));
  const onInternal = (request: FastifyRequest, error: DvError) =>
    log.error(
      { requestId: request.id, method: request.method, path: request.url.split("?")[0], cause: causeChain(error) },
      "request failed with an internal error",
    );
  const paths = new PathMethods();
  const app = await createServer({
    config,
    log,
    methodsOf: (path) => paths.of(path),
    onProblem: (request, error) => {
      if (error.kind === "internal") onInternal(request, error);
      request.call?.span.end({ "http.response.status_code": error.httpStatus }, error.code);
      recordProblem(parts, operations, request, error);
    },
  });
  for (const { spec } of addOperationRoutes(app, { ...parts, bus, own: parts.own as never, onInternal }))
    if (spec.http) paths.add(spec.http.method, spec.http.path);
  for (const path of FIXED_PATHS) paths.add("GET", path);
  addFixedRoutes(app, { ...parts, version: node.version, ready });
  const policy = {
    permission: EVENTS_PERMISSION,
    rateClass: "read",
    operation: "gateway.events",
    audit: "none",
  } as const;
  const onRequest = createGuard(parts, policy, parts.metrics.route("GET", "/v1/events"));
  addEventRoute(app, {
    ...parts,
    config,
    clock,
    onRequest,
    principalOf: (request) => callOf(request).principal,
    routeConfig: { policy },
  });
  await app.ready();
  return app;
}

/** Which methods a path knows. Asked only for requests that no route took. */
class PathMethods {
  readonly #paths: { readonly pattern: RegExp; readonly methods: readonly string[] }[] = [];

  add(method: string, path: string): void {
    const pattern = new RegExp(`^${path.replaceAll(".", "\\.").replace(/\{[^}]+\}/g, "[^/]+")}$`);
    this.#paths.push({ pattern, methods: method === "GET" && path !== "/v1/events" ? ["GET", "HEAD"] : [method] });
  }

  of(path: string): readonly string[] {
    return [...new Set(this.#paths.filter(({ pattern }) => pattern.test(path)).flatMap(({ methods }) => methods))];
  }
}
