// SPDX-License-Identifier: Apache-2.0
/**
 * Answers the operations of a contract. Each instance also speaks the NATS service protocol (`$SRV`, ADR-32), so that
 * `dvctl services list` and any NATS tool can see it with its statistics.
 */
import { randomUUID } from "node:crypto";
import { GENERAL_ERROR_CODES } from "@debvisor/proto-events/errors";
import { type Contract, type Handlers, type OperationSpec, wireName } from "@debvisor/proto-events/kit";
import { CORE, parseRpcSubject, rpcSubject } from "@debvisor/proto-events/subjects";
import { headers as createHeaders, type Msg, type NatsConnection, type Subscription } from "@nats-io/nats-core";
import { Svcm } from "@nats-io/services";
import { causeChain, DvError, toDvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Span, Tracing } from "../telemetry.ts";
import type { Closable, Order, RequestContext, RequestCounts } from "./bus.ts";
import type { CommandVerifier } from "./command.ts";
import { errorReply, HEADER, okReply, printable } from "./wire.ts";

/** Requests that one endpoint works on at a time; more are refused at once, so that memory stays bounded. */
const MAX_IN_FLIGHT = 1_024;

export interface ServeOptions {
  readonly connection: NatsConnection;
  readonly log: Logger;
  readonly version: string;
  /** Node on which this instance runs. */
  readonly nodeId: string;
  readonly nodeName: string;
  /** Where spans go; without export none are made here, the caller's ids are in its own log. */
  readonly tracing?: Tracing | undefined;
  /** Checks the orders that node-scope operations arrive with. */
  readonly verifier: CommandVerifier;
  /** Services that this connection shows under `$SRV`, by name and scope. */
  readonly shown: Map<string, Counts>;
}

const NOTHING: RequestCounts = { requests: 0, errors: 0, totalMs: 0 };

type AnyHandler = (input: unknown, context: RequestContext) => unknown;

/** Counts of one instance, kept here because the library measures a handler only until its first await. */
export interface Counts {
  requests: number;
  errors: number;
  totalMs: number;
  inFlight: number;
}

/**
 * Starts answering until `stop`, which first lets requests under way finish (up to 2 s). A service that implements several
 * contracts shows itself once, with the counts of all: over one connection it could answer `$SRV` only once anyway.
 */
export async function serveContract<const C extends Contract, S extends "core" | "node">(
  options: ServeOptions,
  contract: C,
  scope: S,
  handlers: Handlers<C, S, RequestContext>,
  elsewhere: () => RequestCounts = () => NOTHING,
): Promise<Closable> {
  const { connection, nodeId, shown } = options;
  const name = contract.implementedBy ?? contract.service;
  const key = `${name} ${scope}`;
  const known = shown.get(key);
  const counts: Counts = known ?? { requests: 0, errors: 0, totalMs: 0, inFlight: 0 };
  const service = known
    ? undefined
    : await show(options, { name, summary: contract.summary, scope, counts, elsewhere });
  if (service) shown.set(key, counts);
  const subscriptions: Subscription[] = [];
  for (const [operation, spec] of Object.entries(contract.operations)) {
    if (spec.scope !== scope) continue;
    const wire = wireName(operation);
    const answer = answerer(options, spec, (handlers as unknown as Record<string, AnyHandler>)[operation], counts);
    const subject = rpcSubject(scope === "core" ? CORE : nodeId, contract.service, wire);
    const callback = (_error: Error | null, message: Msg) => void answer(message);
    if (service) service.addEndpoint(wire, { subject, handler: callback });
    else subscriptions.push(connection.subscribe(subject, { ...(scope === "core" ? { queue: name } : {}), callback }));
  }
  await connection.flush();
  return {
    stop: async () => {
      if (service) shown.delete(key);
      // A connection that is closed already has nothing left to drain.
      const drains = connection.isClosed() ? [] : subscriptions.map((subscription) => subscription.drain());
      await Promise.all([service?.stop(), ...drains]);
      const deadline = performance.now() + 2_000;
      while (counts.inFlight > 0 && performance.now() < deadline)
        await new Promise((resolve) => setTimeout(resolve, 5));
    },
  };
}

interface Shown {
  readonly name: string;
  readonly summary: string;
  readonly scope: "core" | "node";
  readonly counts: Counts;
  readonly elsewhere: () => RequestCounts;
}

function show({ connection, version, nodeId, nodeName }: ServeOptions, shown: Shown) {
  const { name, summary, scope, counts, elsewhere } = shown;
  return new Svcm(connection).add({
    name,
    version,
    description: summary,
    queue: scope === "core" ? name : "",
    metadata: { part: scope, node: nodeId, nodeName },
    statsHandler: () => {
      const other = elsewhere();
      return Promise.resolve({
        requests: counts.requests + other.requests,
        errors: counts.errors + other.errors,
        totalMs: Math.round(counts.totalMs + other.totalMs),
      });
    },
  });
}

/**
 * What comes without a reply subject is no request and is dropped: a node can have the server send the acknowledgement of
 * its event to any subject of its account, also to a neighbour's operation (RULES.md F1), but such a message has none.
 */
function answerer(
  options: ServeOptions,
  spec: OperationSpec,
  handler: AnyHandler | undefined,
  counts: Counts,
): (message: Msg) => Promise<void> {
  return async (message) => {
    if (!message.reply) return;
    const startedAt = performance.now();
    counts.requests++;
    const context = requestContext(options.log, spec, message);
    const span = startSpan(options.tracing, message);
    let failure: string | undefined;
    try {
      if (!handler) throw new DvError("INTERNAL", "The operation has no handler here.");
      if (counts.inFlight >= MAX_IN_FLIGHT) throw new DvError("UNAVAILABLE", "The service is overloaded; try again.");
      counts.inFlight++;
      try {
        // Before anything of the message is parsed: a node obeys nothing that is not signed (RULES.md 11).
        if (isOrder(spec)) context.order = options.verifier.verify(message);
        const output = await handler(parseInput(spec, message), context);
        const text = okReply(JSON.stringify(output));
        // The client refuses to send what the server would cut the connection for; the requester would wait for nothing.
        if (Buffer.byteLength(text) > (options.connection.info?.max_payload ?? Number.POSITIVE_INFINITY)) {
          throw new DvError("INTERNAL", "The answer is larger than a message of the bus may be.");
        }
        respond(message, text);
      } finally {
        counts.inFlight--;
      }
    } catch (error) {
      counts.errors++;
      failure = respondError(message, spec, error, context);
    } finally {
      counts.totalMs += performance.now() - startedAt;
      span?.end({ "debvisor.request_id": context.requestId, "debvisor.node": options.nodeId }, failure);
    }
  };
}

/** Whether an operation is an order to a node. Node parts have no other right to change something for somebody. */
function isOrder(spec: OperationSpec): boolean {
  return spec.scope === "node" && spec.effect !== "read";
}

/** A span under the caller's, named by the subject, whose tokens are target, service and operation. */
function startSpan(tracing: Tracing | undefined, message: Msg): Span | undefined {
  if (!tracing?.exporting) return undefined;
  const { service, operation } = parseRpcSubject(message.subject);
  return tracing.startSpan(`${service}.${operation}`, "server", message.headers?.get(HEADER.traceparent) || undefined);
}

function parseInput(spec: OperationSpec, message: Msg): unknown {
  let raw: unknown;
  try {
    raw = message.data.length === 0 ? {} : JSON.parse(message.string());
  } catch (error) {
    throw new DvError("INVALID_ARGUMENT", "The request is not valid JSON.", { cause: error });
  }
  const parsed = spec.input.safeParse(raw);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues
    .slice(0, 20)
    .map(({ path, message: text }) => ({ path: path.join("."), message: text }));
  throw new DvError(
    "INVALID_ARGUMENT",
    `The request is not valid: ${issues.map((issue) => `${issue.path || "(request)"}: ${issue.message}`).join("; ")}.`,
    {
      details: { issues },
    },
  );
}

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-/;

/** The order is added once it is verified. */
type OpenContext = Omit<RequestContext, "order"> & { order: Order | undefined };

function requestContext(log: Logger, spec: OperationSpec, message: Msg): OpenContext {
  const requestId = message.headers?.get(HEADER.requestId) || randomUUID();
  const asked = Number(message.headers?.get(HEADER.timeoutMs));
  const timeoutMs = Number.isFinite(asked) && asked > 0 ? Math.min(asked, spec.timeoutMs * 2) : spec.timeoutMs;
  let signal: AbortSignal | undefined;
  return {
    requestId,
    actor: message.headers?.get(HEADER.actor) || "system",
    user: printable(message.headers?.get(HEADER.user)),
    source: printable(message.headers?.get(HEADER.source)),
    operation: printable(message.headers?.get(HEADER.operation)),
    traceId: TRACEPARENT.exec(message.headers?.get(HEADER.traceparent) ?? "")?.[1],
    order: undefined,
    get signal() {
      signal ??= AbortSignal.timeout(timeoutMs);
      return signal;
    },
    get log() {
      return log.child({ requestId });
    },
  };
}

/** Returns the code that was answered. A handler may fail with the codes that its contract lists and the general ones; anything else is a bug and is logged. */
function respondError(message: Msg, spec: OperationSpec, thrown: unknown, context: RequestContext): string {
  let error = toDvError(thrown);
  const isDeclared = Object.hasOwn(GENERAL_ERROR_CODES, error.code) || spec.errors.includes(error.code);
  if (!isDeclared && !(isOrder(spec) && error.code === "COMMAND_REFUSED")) {
    error = new DvError("INTERNAL", "An internal error occurred.", { cause: thrown });
  }
  if (error.kind === "internal") {
    context.log.error({ subject: message.subject, cause: causeChain(thrown) }, "request failed with an internal error");
  }
  const headers = createHeaders();
  headers.set(HEADER.serviceErrorCode, String(error.httpStatus));
  headers.set(HEADER.serviceError, error.code);
  respond(message, errorReply(error.toWire()), headers);
  return error.code;
}

/** A requester that has gone away is no error of ours. */
function respond(message: Msg, text: string, headers?: ReturnType<typeof createHeaders>): void {
  try {
    message.respond(text, headers ? { headers } : undefined);
  } catch {
    // The connection is closing; the requester sees a timeout and asks again.
  }
}
