// SPDX-License-Identifier: Apache-2.0
/** How the engine's answer to a durable operation reads over HTTP. */
import type { RegisteredOperation } from "@debvisor/proto-events/registry";
import { DvError } from "@debvisor/shared/errors";
import { quoted } from "./etag.ts";
import type { StoredAnswer } from "./idempotency.ts";

const JSON_TYPE = "application/json; charset=utf-8";

/** What is looked at in an operation; the rest passes through as text. */
interface Seen {
  readonly type?: unknown;
  readonly mode?: unknown;
  readonly plan?: { readonly digest?: unknown } | null;
}

/**
 * 202 with the operation's place for one that was accepted, also when it has ended already; 200 with the plan's digest as ETag for
 * a check or a plan, of which no record is kept. @throws IDEMPOTENCY_KEY_REUSED when the key named an operation of another type:
 * operations are kept longer than keys. MALFORMED_REPLY
 */
export function acceptedAnswer({ service, wire }: RegisteredOperation, id: string, json: string): StoredAnswer {
  const { type, mode, plan } = parse(json);
  if (type !== `${service}.${wire}`)
    throw new DvError(
      "IDEMPOTENCY_KEY_REUSED",
      `Operation ${id} of this Idempotency-Key is another one: ${String(type)}.`,
    );
  const headers = { "content-type": JSON_TYPE };
  if (mode === "apply") return { status: 202, headers: { ...headers, location: `/v1/operations/${id}` }, body: json };
  const digest = plan?.digest;
  return {
    status: 200,
    headers: typeof digest === "string" ? { ...headers, etag: quoted(digest) } : headers,
    body: json,
  };
}

function parse(json: string): Seen {
  try {
    const value: unknown = JSON.parse(json);
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // Falls through to the same answer as JSON of the wrong shape.
  }
  throw new DvError("MALFORMED_REPLY", "The answer is no operation.");
}
