// SPDX-License-Identifier: Apache-2.0
/**
 * Problem documents (RFC 9457) for every status of 400 and above. The status follows from the error's kind (STYLE.md B6), with
 * the exceptions that HTTP itself decides before an operation is reached: 405, 408, 413, 414, 415, 431, and 429, which
 * tells every HTTP client to come back later where 423 would not.
 */
import { type ErrorCode, errorEntry } from "@debvisor/proto-events/errors";
import type { Problem } from "@debvisor/proto-events/replies";
import { DvError } from "@debvisor/shared/errors";

/** Media type of problem documents. */
export const PROBLEM_TYPE = "application/problem+json; charset=utf-8";

/** An error whose status HTTP decides, and headers that its answer needs. */
export class HttpError extends DvError {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, error: DvError, headers: Readonly<Record<string, string>> = {}) {
    super(error.code, error.message, { details: error.details, kind: error.kind, cause: error });
    this.status = status;
    this.headers = headers;
  }

  override get httpStatus(): number {
    return this.status;
  }
}

/** A failed condition of the request's header If-Match (RFC 9110 §13.1.1): 412, whatever the kind of the code. */
export function conditionFailed(error: DvError): HttpError {
  return new HttpError(412, error);
}

/** Seconds after which a try may succeed, for what is busy or away for the moment. */
const RETRY_AFTER: Readonly<Partial<Record<ErrorCode, number>>> = {
  LOCK_HELD: 5,
  IN_MAINTENANCE: 60,
  IDEMPOTENCY_IN_PROGRESS: 1,
  AUDIT_UNAVAILABLE: 5,
};
const RETRY_SOON = 2;

/** Headers that an error's answer needs. */
export function headersOf(error: DvError): Readonly<Record<string, string>> {
  const own = error instanceof HttpError ? error.headers : {};
  const { httpStatus } = error;
  if ((httpStatus !== 423 && httpStatus !== 503) || "retry-after" in own) return own;
  return { ...own, "retry-after": String(RETRY_AFTER[error.code] ?? RETRY_SOON) };
}

/** A refusal because of a rate, with the time after which to try again. */
export function rateLimited(message: string, waitMs: number): HttpError {
  const seconds = Math.max(1, Math.ceil(waitMs / 1_000));
  return new HttpError(429, new DvError("RATE_LIMITED", message, { details: { retryAfterSeconds: seconds } }), {
    "retry-after": String(seconds),
  });
}

/** The problem document of an error. */
export function toProblem(error: DvError, requestId: string, instance?: string): Problem {
  const internal = error.code === "INTERNAL";
  return {
    type: `/v1/errors?code=${encodeURIComponent(error.code)}`,
    title: errorEntry(error.code)?.summary ?? error.code,
    status: error.httpStatus,
    detail: internal
      ? `An internal error occurred; the gateway's log has it under request ${requestId}.`
      : error.message,
    ...(instance === undefined ? {} : { instance }),
    code: error.code,
    kind: error.kind,
    exitCode: error.exitCode,
    requestId,
    ...(error.details && !internal ? { details: { ...error.details } } : {}),
  };
}

/** A refusal of the input, with the schema's findings. */
export function invalidInput(
  issues: readonly { readonly path: readonly PropertyKey[]; readonly message: string }[],
): DvError {
  const named = issues.slice(0, 20).map(({ path, message }) => ({ path: path.map(String).join("."), message }));
  const [first] = named;
  const text = first
    ? `${first.path === "" ? "" : `${first.path}: `}${first.message}`
    : "The request does not match the operation's schema.";
  return new DvError("INVALID_ARGUMENT", text, { details: { issues: named } });
}

/** Errors that Fastify and Node raise before a handler runs, by code. */
const FRAMEWORK: Readonly<
  Record<string, readonly [status: number, code: "INVALID_ARGUMENT" | "REQUEST_TOO_LARGE", message: string]>
> = {
  FST_ERR_CTP_BODY_TOO_LARGE: [413, "REQUEST_TOO_LARGE", "The request body is larger than the limit."],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    415,
    "INVALID_ARGUMENT",
    "The body's media type is not supported; send application/json.",
  ],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: [400, "INVALID_ARGUMENT", "The body is not as long as Content-Length says."],
  FST_ERR_CTP_INVALID_JSON_BODY: [400, "INVALID_ARGUMENT", "The body is not valid JSON."],
  FST_ERR_BAD_URL: [400, "INVALID_ARGUMENT", "The URL is not properly encoded."],
  FST_ERR_MAX_PARAM_LENGTH: [414, "REQUEST_TOO_LARGE", "A part of the URL is longer than the limit."],
  HPE_HEADER_OVERFLOW: [431, "REQUEST_TOO_LARGE", "The request headers are larger than the limit."],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "INVALID_ARGUMENT", "The request did not arrive in time."],
};

/** Turns anything thrown on the way of a request into an error with a status. */
export function toHttpError(error: unknown): DvError {
  if (error instanceof DvError) return error;
  const { code, statusCode } = error as { code?: unknown; statusCode?: unknown };
  const known = typeof code === "string" ? FRAMEWORK[code] : undefined;
  if (known) return new HttpError(known[0], new DvError(known[1], known[2]));
  // What Fastify refuses for other reasons (empty body, forbidden property names) is the caller's mistake as well.
  if (typeof statusCode === "number" && statusCode >= 400 && statusCode < 500) {
    return new HttpError(
      statusCode,
      new DvError("INVALID_ARGUMENT", error instanceof Error ? error.message : "The request cannot be read."),
    );
  }
  return new DvError("INTERNAL", "An internal error occurred.", { cause: error });
}
