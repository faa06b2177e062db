// SPDX-License-Identifier: Apache-2.0
/** How requests, replies and errors are written on the bus: header names, the reply's frame, error mapping. */
import { WireError } from "@debvisor/proto-events/replies";
import { headers as createHeaders, errors, type Msg, type MsgHdrs } from "@nats-io/nats-core";
import { DvError } from "../errors.ts";

export const HEADER = {
  requestId: "Dv-Request-Id",
  actor: "Dv-Actor",
  timeoutMs: "Dv-Timeout-Ms",
  user: "Dv-User",
  source: "Dv-Source",
  operation: "Dv-Operation",
  command: "Dv-Command",
  commandSignature: "Dv-Command-Sig",
  commandCertificate: "Dv-Command-Cert",
  traceparent: "traceparent",
  messageId: "Nats-Msg-Id",
  serviceError: "Nats-Service-Error",
  serviceErrorCode: "Nats-Service-Error-Code",
  expectedLastSubjectSequence: "Nats-Expected-Last-Subject-Sequence",
  ttl: "Nats-TTL",
  kvOperation: "KV-Operation",
  markerReason: "Nats-Marker-Reason",
} as const;

const OK_PREFIX = '{"ok":true,"data":';

/** The reply of a success around the data's JSON text. */
export function okReply(dataJson: string): string {
  return `${OK_PREFIX}${dataJson}}`;
}

/** The reply of a failure. */
export function errorReply(error: WireError): string {
  return JSON.stringify({ ok: false, error });
}

/** A reply taken apart: the data's JSON text, or the error. */
export type ParsedReply = { readonly dataJson: string } | { readonly error: WireError };

/**
 * Takes a reply apart without parsing the data: the frame is fixed, so the data can pass through as text. The caller
 * parses it where the sender is not trusted to send valid JSON.
 */
export function parseReply(text: string): ParsedReply {
  if (text.startsWith(OK_PREFIX) && text.endsWith("}")) return { dataJson: text.slice(OK_PREFIX.length, -1) };
  try {
    const reply: unknown = JSON.parse(text);
    const parsed = WireError.safeParse((reply as { error?: unknown } | null)?.error);
    if (parsed.success) return { error: parsed.data };
  } catch {
    // Falls through to the same answer as a well-formed text of the wrong shape.
  }
  return { error: malformed("The reply is neither a result nor an error.") };
}

/** The error for a reply that cannot be read. */
export function malformed(message: string): WireError {
  return { code: "MALFORMED_REPLY", kind: "internal", message };
}

/** Longest text of a header that a person's words go into, in characters. */
const MAX_WORDS = 200;

/** What may stand in a header, and later on a terminal: printable, cut; undefined when nothing is left. */
export function printable(text: string | undefined): string | undefined {
  const clean = text?.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "").trim();
  return clean ? Array.from(clean).slice(0, MAX_WORDS).join("") : undefined;
}

/** Headers of a request. */
export function requestHeaders(options: {
  requestId: string;
  actor?: string | undefined;
  user?: string | undefined;
  source?: string | undefined;
  operation?: string | undefined;
  timeoutMs: number;
  traceparent?: string | undefined;
}): MsgHdrs {
  const headers = createHeaders();
  headers.set(HEADER.requestId, options.requestId);
  headers.set(HEADER.timeoutMs, String(Math.ceil(options.timeoutMs)));
  if (options.actor) headers.set(HEADER.actor, options.actor);
  if (options.traceparent) headers.set(HEADER.traceparent, options.traceparent);
  for (const name of ["user", "source", "operation"] as const) {
    const value = printable(options[name]);
    if (value) headers.set(HEADER[name], value);
  }
  return headers;
}

/** Turns an error of the NATS client into ours. */
export function busError(error: unknown, what: string): DvError {
  if (error instanceof DvError) return error;
  if (saysNobodyListens(error)) {
    return new DvError("UNAVAILABLE", `Nobody answers ${what}.`, { cause: error });
  }
  if (error instanceof errors.TimeoutError)
    return new DvError("TIMEOUT", `No answer to ${what} in time; the effect is unknown.`, { cause: error });
  if (error instanceof errors.PermissionViolationError)
    return new DvError("PERMISSION_DENIED", `The bus does not allow ${what}.`, { cause: error });
  if (error instanceof errors.InvalidArgumentError && error.message.includes("max_payload")) {
    return new DvError("REQUEST_TOO_LARGE", `${what} is larger than a message of the bus may be.`, { cause: error });
  }
  return new DvError("BUS_UNAVAILABLE", `The bus did not carry ${what}.`, { cause: error });
}

function saysNobodyListens(error: unknown): boolean {
  return error instanceof errors.NoRespondersError || (error instanceof errors.RequestError && error.isNoResponders());
}

/** Whether a request failed because nobody listened; then nothing came of it. */
export function isUnanswered(error: unknown): boolean {
  return error instanceof DvError && error.code === "UNAVAILABLE" && saysNobodyListens(error.cause);
}

/** True when the server itself answered that nobody listens. */
export function isNoResponders(message: Msg): boolean {
  return message.data.length === 0 && message.headers?.code === 503;
}
