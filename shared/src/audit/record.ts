// SPDX-License-Identifier: Apache-2.0
/** Builds the records of the audit trail: masked, numbered, chained, signed; one line of canonical JSON each. */
import { type AuditRecord, MAX_RECORD_BYTES, type RecordBody } from "@debvisor/proto-events/audit";
import type { Signer } from "../bus/bus.ts";
import { canonicalJson } from "./canonical.ts";
import { digestOf, maskArgs, maskText } from "./mask.ts";
import { leafHash } from "./merkle.ts";

/** End of an emitter's chain: the number of its last record and that record's leaf hash; 0 and null before the first. */
export interface ChainHead {
  readonly n: number;
  readonly leaf: string | null;
}

/** Where and when a record is written. */
export interface RecordPlace {
  readonly chain: ChainHead;
  readonly signer: Signer;
  /** 32 hexadecimal digits, random; also the message id. */
  readonly id: string;
  readonly boot: string;
  /** Milliseconds since the process started, monotonic. */
  readonly mono: number;
  /** RFC 3339 in UTC. */
  readonly time: string;
}

/** A record ready to be stored. */
export interface BuiltRecord {
  readonly record: AuditRecord;
  /** Exact bytes, without a line end. */
  readonly line: string;
  readonly leaf: string;
}

const MAX_TARGETS = 1_000;
const MAX_TARGET = 200;

/** Builds the next record of a chain. Secrets are masked here, whatever was done before. */
export function buildRecord(body: RecordBody, place: RecordPlace): BuiltRecord {
  const { chain, signer } = place;
  const unsigned: Omit<AuditRecord, "sig"> = {
    ...fitted(body),
    v: 1,
    id: place.id,
    emitter: signer.user,
    n: chain.n + 1,
    prev: chain.leaf,
    time: place.time,
    boot: place.boot,
    mono: Math.max(0, Math.floor(place.mono)),
    cred: body.kind === "start" ? signer.jwt : null,
  };
  const sig = Buffer.from(signer.sign(Buffer.from(canonicalJson(unsigned)))).toString("base64url");
  const record = { ...unsigned, sig };
  const line = canonicalJson(record);
  return { record, line, leaf: leafHash(line) };
}

/** The body with its secrets masked, small enough for what the emitter adds (the credential, mostly) to fit as well. */
function fitted(body: RecordBody): RecordBody {
  const masked = maskedBody(body);
  const roomBytes = MAX_RECORD_BYTES / 2;
  if (sizeOf(masked) <= roomBytes) return masked;
  const small = { ...masked, args: { digest: digestOf(masked.args) } };
  if (sizeOf(small) <= roomBytes) return small;
  const { sha256 } = digestOf(masked.targets);
  return { ...small, targets: [...small.targets.slice(0, 20), `… ${body.targets.length} in all, sha256 ${sha256}`] };
}

function maskedBody(body: RecordBody): RecordBody {
  const text = (value: string | null, limit?: number) => (value === null ? null : maskText(value, limit));
  const targets = body.targets.map((target) => maskText(target, MAX_TARGET));
  return {
    kind: body.kind,
    ref: maskText(body.ref, 200),
    actor: maskText(body.actor, 200),
    user: text(body.user, 200),
    source: text(body.source, 200),
    action: maskText(body.action, 200),
    mode: body.mode,
    targets: targets.length <= MAX_TARGETS ? targets : [...targets.slice(0, MAX_TARGETS), `… ${targets.length} in all`],
    args: maskArgs(body.args),
    reason: text(body.reason),
    override: text(body.override),
    planDigest: body.planDigest,
    operation: body.operation,
    requestId: text(body.requestId, 200),
    traceId: text(body.traceId, 200),
    result: body.result && { ...body.result, code: text(body.result.code, 100), message: text(body.result.message) },
  };
}

function sizeOf(value: unknown): number {
  return Buffer.byteLength(canonicalJson(value));
}
