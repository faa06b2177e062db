// SPDX-License-Identifier: Apache-2.0
/**
 * The event stream of a cluster over WebSocket, across the servers of a context. What was seen last is remembered, so that
 * another connection, to whichever server, goes on behind it: no gap, no duplicate. Without anything seen, a stream that
 * began "now" goes on from the moment at which it was first open.
 */
import type { ErrorCode } from "@debvisor/proto-events/errors";
import { ControlFrame, EventFrame, TelemetryFrame } from "@debvisor/proto-events/replies";
import { type Clock, systemClock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import { backoffMs } from "@debvisor/shared/retry";
import { errorOf, reasonOf, urlOf } from "./client.ts";
import type { ResolvedContext } from "./context.ts";

/** What a subscriber asks for, as the query of `GET /v1/events`. */
export interface StreamQuery {
  readonly filter?: string | undefined;
  readonly since?: string | undefined;
  readonly tail?: number | undefined;
  readonly node?: string | undefined;
  readonly telemetry?: boolean | undefined;
}

/** Told of what arrives. Returning false ends the stream. */
export interface StreamHandlers {
  onEvent(frame: EventFrame, raw: string): boolean;
  onTelemetry(frame: TelemetryFrame, raw: string): boolean;
  onControl(frame: ControlFrame): boolean;
  onReconnect(reason: string, delayMs: number): void;
}

/** Options of `followEvents`. */
export interface StreamOptions {
  readonly context: Pick<ResolvedContext, "servers" | "token">;
  readonly query: StreamQuery;
  readonly handlers: StreamHandlers;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;
/** Rounds over all servers until the first connection; later the stream waits for as long as it takes. */
const FIRST_ATTEMPTS = 3;
const OPEN_LIMIT_MS = 10_000;
/** A gateway pings at least this often; silence for longer is a connection that died without saying so. */
const SILENCE_LIMIT_MS = 60_000;

/** Where the stream stands; pure, so that resuming can be tested without a socket. */
export class Position {
  #last: number | undefined;
  #openedAt: string | undefined;
  readonly #query: StreamQuery;

  constructor(query: StreamQuery) {
    this.#query = query;
  }

  /** False for an event that was seen before. */
  advance(seq: number): boolean {
    if (this.#last !== undefined && seq <= this.#last) return false;
    this.#last = seq;
    return true;
  }

  opened(time: string): void {
    this.#openedAt ??= time;
  }

  /** The query of the next connection. */
  next(): Readonly<Record<string, unknown>> {
    const { filter, node, telemetry, since, tail } = this.#query;
    const fixed = { filter, node, telemetry: telemetry ? "1" : undefined };
    if (this.#last !== undefined) return { ...fixed, since: this.#last };
    if (this.#openedAt !== undefined && since === undefined && tail === undefined)
      return { ...fixed, since: this.#openedAt };
    return { ...fixed, since, tail };
  }
}

/** Follows the stream until a handler ends it or the signal aborts. @throws UNAVAILABLE and what the gateway refuses with */
export async function followEvents(options: StreamOptions): Promise<void> {
  const { context, handlers, signal, clock = systemClock } = options;
  const { WebSocket } = await import("ws");
  const position = new Position(options.query);
  let connected = false;
  let failures = 0;
  for (let turn = 0; !signal.aborted; turn++) {
    const server = context.servers[turn % context.servers.length] ?? "";
    const url = urlOf(server.replace(/^http/, "ws"), { path: "/v1/events", query: position.next() });
    const socket = new WebSocket(url, { headers: authorization(context.token), handshakeTimeout: OPEN_LIMIT_MS });
    const opened = () => {
      connected = true;
      failures = 0;
      position.opened(new Date(clock.now()).toISOString());
    };
    const end = await readSocket(socket, server, position, { ...options, opened });
    if (end === "done" || signal.aborted) return;
    failures++;
    if (!end.mayPass || (!connected && failures >= FIRST_ATTEMPTS * context.servers.length)) throw end.error;
    // The next server is asked at once; only after a whole round of failures it is worth waiting.
    const round = Math.floor(failures / context.servers.length);
    const delayMs = round === 0 ? 0 : backoffMs(round, FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
    if (connected) handlers.onReconnect(end.error.message, delayMs);
    await clock.sleep(delayMs, signal);
  }
}

function authorization(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

interface Broken {
  readonly error: DvError;
  readonly mayPass: boolean;
}

type Socket = import("ws").WebSocket;

/* Reads one connection to its end. */
function readSocket(
  socket: Socket,
  server: string,
  position: Position,
  options: StreamOptions & { opened: () => void },
): Promise<"done" | Broken> {
  return new Promise((resolve) => {
    let silence: NodeJS.Timeout | undefined;
    const finish = (end: "done" | Broken) => {
      clearTimeout(silence);
      options.signal.removeEventListener("abort", onAbort);
      socket.on("error", () => undefined);
      socket.terminate();
      resolve(end);
    };
    const broken = (code: ErrorCode, message: string, cause?: unknown) =>
      finish({ error: new DvError(code, message, { cause }), mayPass: true });
    const onAbort = () => finish("done");
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(
        () => broken("UNAVAILABLE", `${server}: silent for ${SILENCE_LIMIT_MS / 1000} s`),
        SILENCE_LIMIT_MS,
      );
    };
    options.signal.addEventListener("abort", onAbort, { once: true });
    socket.on("open", () => {
      options.opened();
      heard();
    });
    socket.on("ping", heard);
    socket.on("message", (data) => {
      heard();
      if (!deliver(String(data), position, options.handlers)) finish("done");
    });
    socket.on("close", (code, reason) =>
      broken("UNAVAILABLE", `${server} closed the stream (${code}${reason.length > 0 ? ` ${reason}` : ""})`),
    );
    socket.on("error", (error) => broken("UNAVAILABLE", `${server}: ${reasonOf(error)}`, error));
    socket.on("unexpected-response", (_request, response) => void refusedWith(response, server).then(finish));
  });
}

async function refusedWith(response: import("node:http").IncomingMessage, server: string): Promise<Broken> {
  let text = "";
  for await (const chunk of response) text += String(chunk);
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  const error = errorOf(response.statusCode ?? 0, body, server);
  return { error, mayPass: error.kind === "unavailable" || error.code === "RATE_LIMITED" };
}

/* False when a handler wants the stream to end. What cannot be read is a frame of a newer gateway and is left out. */
function deliver(raw: string, position: Position, handlers: StreamHandlers): boolean {
  const value = parse(raw);
  if (typeof value !== "object" || value === null) return true;
  if ("control" in value) {
    const control = ControlFrame.safeParse(value);
    if (!control.success) return true;
    if (control.data.control !== "gap") position.advance(control.data.seq);
    return handlers.onControl(control.data);
  }
  if ("telemetry" in value) {
    const telemetry = TelemetryFrame.safeParse(value);
    return telemetry.success ? handlers.onTelemetry(telemetry.data, raw) : true;
  }
  const event = EventFrame.safeParse(value);
  if (!event.success || !position.advance(event.data.seq)) return true;
  return handlers.onEvent(event.data, raw);
}

function parse(raw: string): unknown {
  try {
    return JSON.parse(raw);
  } catch {
    return undefined;
  }
}
