// SPDX-License-Identifier: Apache-2.0
/**
 * HTTP to a gateway. The servers of the context are tried in order, then again after a growing pause; a request that
 * changes something carries one Idempotency-Key for all its attempts, so that repeating it is safe.
 */
import { randomUUID } from "node:crypto";
import type { ErrorCode, ErrorKind } from "@debvisor/proto-events/errors";
import { Problem } from "@debvisor/proto-events/replies";
import { DvError } from "@debvisor/shared/errors";
import type { Output } from "@debvisor/shared/output";
import { isTransient, retry } from "@debvisor/shared/retry";
import type { ResolvedContext } from "./context.ts";

/** A request to the API. */
export interface ApiRequest {
  readonly method: string;
  /** Path below the server's URL, beginning with `/`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, unknown>> | undefined;
  readonly body?: unknown;
  /** Limit of one attempt in milliseconds. */
  readonly timeoutMs: number;
  /** Attempts over all servers; default 3. */
  readonly attempts?: number;
  /** A repeat after a timeout does no harm, because the key finds what the first one began; true for what is read. */
  readonly repeats?: boolean;
}

/** An answer with a status below 400. */
export interface ApiReply {
  readonly status: number;
  readonly body: unknown;
  /** The body as it was received. */
  readonly text: string;
  readonly server: string;
}

/** Client of one context. */
export interface Client {
  readonly servers: readonly string[];
  /** @throws every code of the catalogue; UNAVAILABLE when no server could be reached */
  request(request: ApiRequest): Promise<ApiReply>;
}

/** Options of `createClient`. */
export interface ClientOptions {
  readonly context: Pick<ResolvedContext, "servers" | "token"> & Partial<Pick<ResolvedContext, "origin">>;
  readonly output: Pick<Output, "debug">;
  readonly signal: AbortSignal;
  readonly userAgent?: string;
  /** Who typed the command, for the record: `alice`, `root (sudo by alice)`. */
  readonly user?: string | undefined;
}

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;
const DEFAULT_ATTEMPTS = 3;
/** Busy answers that pass within moments; a lock that somebody holds is none of them. */
const SHORT_BUSY = new Set(["RATE_LIMITED", "IDEMPOTENCY_IN_PROGRESS"]);

/** Where no gateway answers, the remedies of the catalogue would ask one. */
const HINT =
  "`dvctl ping` shows which gateways answer, `dvctl context show` where they were named, `dvctl lab status` a local cluster.";

/** Makes a client. */
export function createClient(options: ClientOptions): Client {
  const { context, output, signal } = options;
  return {
    servers: context.servers,
    request: (request) => {
      const headers = headersOf(request, options);
      return retry(() => askAny(request, headers, options), {
        attempts: request.attempts ?? DEFAULT_ATTEMPTS,
        delayMs: FIRST_PAUSE_MS,
        maxDelayMs: LONGEST_PAUSE_MS,
        isTransient: (error) => mayPass(error, request),
        signal,
        onRetry: (error, attempt, delayMs) =>
          output.debug(
            `attempt ${attempt} failed (${error instanceof Error ? error.message : "?"}), next one in ${delayMs} ms`,
          ),
      });
    },
  };
}

function mayPass(error: unknown, { repeats, method }: ApiRequest): boolean {
  if (!(error instanceof DvError)) return false;
  // A server that answers so may have just lost its bus. One that says nothing costs the whole limit, so reads do not ask it again.
  const heard = error.kind === "timeout" && error.details?.["local"] !== true;
  if (heard ? (repeats ?? method === "GET") : repeats && error.details?.["local"] === true) return true;
  return error.kind === "busy" ? SHORT_BUSY.has(error.code) : isTransient(error);
}

function headersOf(
  request: ApiRequest,
  { context, userAgent = "dvctl", user }: ClientOptions,
): Readonly<Record<string, string>> {
  return {
    accept: "application/json",
    "user-agent": userAgent,
    ...(user === undefined ? {} : { "dv-user": user }),
    ...(context.token === undefined ? {} : { authorization: `Bearer ${context.token}` }),
    ...(request.body === undefined ? {} : { "content-type": "application/json" }),
    ...(request.method === "GET" ? {} : { "idempotency-key": randomUUID() }),
  };
}

/* One round over the servers. Only a failure to be answered moves on to the next one: an error that a server sent stands. */
async function askAny(
  request: ApiRequest,
  headers: Readonly<Record<string, string>>,
  options: ClientOptions,
): Promise<ApiReply> {
  const failures: DvError[] = [];
  for (const server of options.context.servers) {
    try {
      return await ask(server, request, headers, options);
    } catch (error) {
      if (!(error instanceof DvError) || !movesOn(error, request) || options.signal.aborted) throw error;
      failures.push(error);
    }
  }
  const [only] = failures;
  if (only && failures.length === 1) throw only;
  // An answer from a server whose bus is away says more than another one's refused connection.
  throw (
    failures.find(({ code }) => code === "BUS_UNAVAILABLE") ??
    new DvError("UNAVAILABLE", [...new Set(failures.map(({ message }) => message))].join("; "), {
      details: { hint: HINT },
      cause: only,
    })
  );
}

function movesOn(error: DvError, request: ApiRequest): boolean {
  return (
    error.kind === "unavailable" ||
    (error.kind === "timeout" && (request.repeats ?? request.method === "GET") && error.details?.["local"] === true)
  );
}

async function ask(
  server: string,
  request: ApiRequest,
  headers: Readonly<Record<string, string>>,
  options: ClientOptions,
): Promise<ApiReply> {
  const url = urlOf(server, request);
  const startedAt = performance.now();
  const tell = (how: string) =>
    options.output.debug(`${request.method} ${url}: ${how}, ${Math.round(performance.now() - startedAt)} ms`);
  const limit = AbortSignal.timeout(request.timeoutMs);
  try {
    const response = await fetch(url, {
      method: request.method,
      headers,
      ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
      redirect: "error",
      signal: AbortSignal.any([options.signal, limit]),
    });
    const text = await response.text();
    tell(`${response.status}, ${text.length} characters, request id ${response.headers.get("x-request-id") ?? "-"}`);
    return readReply(server, response, text);
  } catch (error) {
    if (error instanceof DvError) throw error.code === "UNAUTHENTICATED" ? withOrigin(error, options) : error;
    tell(reasonOf(error));
    throw unanswered(server, limit.aborted ? request.timeoutMs : undefined, error);
  }
}

/* Who is not known wants to know which of several tokens was sent. */
function withOrigin(error: DvError, { context }: ClientOptions): DvError {
  const from = context.origin?.token;
  if (from === undefined) return error;
  const hint = `the token came from ${from}; ask an administrator for a new one: dvctl tokens create NAME`;
  return new DvError(error.code, error.message, {
    kind: error.kind,
    details: { ...error.details, hint },
    cause: error,
  });
}

function unanswered(server: string, limitMs: number | undefined, cause: unknown): DvError {
  if (limitMs === undefined) {
    return new DvError("UNAVAILABLE", `${server}: ${reasonOf(cause)}`, { details: { hint: HINT }, cause });
  }
  const message = `${server} gave no answer within ${limitMs} ms; whether the request took effect is unknown`;
  return new DvError("TIMEOUT", message, { details: { local: true }, cause });
}

/** The full URL of a request. Lists are joined by commas. */
export function urlOf(server: string, { path, query = {} }: Pick<ApiRequest, "path" | "query">): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined) search.set(key, Array.isArray(value) ? value.join(",") : String(value));
  }
  return `${server}${path}${search.size > 0 ? `?${search}` : ""}`;
}

function readReply(server: string, response: Response, text: string): ApiReply {
  const body = parseJson(text);
  if (response.status >= 400) throw errorOf(response.status, body, server);
  if (body === undefined)
    throw new DvError("MALFORMED_REPLY", `${server} answered HTTP ${response.status} with something that is not JSON`);
  return { status: response.status, body, text, server };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The error that a reply with a status of 400 or above stands for: its problem document, or what the status says. */
export function errorOf(status: number, body: unknown, server: string): DvError {
  const problem = Problem.safeParse(body);
  if (problem.success) {
    const { code, kind, detail, details, requestId } = problem.data;
    return new DvError(code as ErrorCode, detail, { kind: kind as ErrorKind, details: { ...details, requestId } });
  }
  const byStatus: Readonly<Record<number, ErrorCode>> = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "REQUEST_TOO_LARGE",
    429: "RATE_LIMITED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "TIMEOUT",
  };
  return new DvError(
    byStatus[status] ?? "MALFORMED_REPLY",
    `${server} answered HTTP ${status} without a problem document`,
  );
}

/** What went wrong with a connection, in words. */
export function reasonOf(error: unknown): string {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const code =
      (at as NodeJS.ErrnoException).code ??
      (at instanceof AggregateError ? (at.errors[0] as NodeJS.ErrnoException).code : undefined);
    if (code === "ECONNREFUSED") return "connection refused";
    if (code === "ENOTFOUND" || code === "EAI_AGAIN") return "name not found";
    if (typeof code === "string") return `connection failed (${code})`;
    if (at.name === "AbortError" || at.name === "TimeoutError") return "interrupted";
  }
  return "connection failed";
}
