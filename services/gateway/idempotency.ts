// SPDX-License-Identifier: Apache-2.0
/**
 * Idempotency-Key (REQUIREMENTS GW-13). The first request enters its key by create, which only one of several gateways can win,
 * and later stores its answer there; a repeat within 24 hours gets that answer. `model/idempotency.ts` decides.
 *
 * Answers are stored sealed (AES-256-GCM) under a key made from the caller's own credential, of which the cluster has only
 * a hash: the answer of `createToken` holds a secret that nobody but its caller may read, in the bucket or its backups.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";
import type { Bucket } from "@debvisor/shared/bus/bus";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import { z } from "zod";
import { type Fate, judgeRepeat } from "./model/idempotency.ts";

/** An entry of bucket dv_idempotency. */
export const IdempotencyRecord = z.object({
  state: z.enum(["pending", "done", "unknown"]),
  principal: z.string(),
  operation: z.string(),
  fingerprint: z.string().describe("SHA-256 over method, path and input."),
  gateway: z.string(),
  requestId: z.string(),
  startedAt: z.string(),
  endedAt: z.string().nullable(),
  status: z.number().int().nullable(),
  sealed: z.string().nullable().describe("The answer, sealed; null while pending or when it was too large."),
});
export type IdempotencyRecord = z.output<typeof IdempotencyRecord>;

/** An answer as it is stored. */
export interface StoredAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** A request that carries a key. */
export interface KeyedRequest {
  readonly key: string;
  readonly principal: string;
  /** The Authorization header; what the answer is sealed with. */
  readonly credential: string;
  readonly operation: string;
  readonly idempotent: boolean;
  readonly durable: boolean;
  readonly timeoutMs: number;
  readonly method: string;
  readonly path: string;
  readonly input: unknown;
  readonly requestId: string;
}

/** A place under the key, held while the request runs. */
export interface Ticket {
  readonly kvKey: string;
  readonly revision: number;
  readonly record: IdempotencyRecord;
  readonly credential: string;
}

const KEY = /^[\x21-\x7e]{1,255}$/;
const MAX_ANSWER_BYTES = 256 * 1024;
const CIPHER = "aes-256-gcm";
const IV_BYTES = 12;
const TAG_BYTES = 16;

/** Checks the header. @throws IDEMPOTENCY_KEY_MISSING */
export function requireKey(header: string | string[] | undefined): string {
  if (typeof header !== "string" || header === "")
    throw new DvError(
      "IDEMPOTENCY_KEY_MISSING",
      "This request changes something and needs the header Idempotency-Key.",
    );
  if (!KEY.test(header))
    throw new DvError("IDEMPOTENCY_KEY_MISSING", "Idempotency-Key is 1 to 255 printable characters without spaces.");
  return header;
}

export class IdempotencyStore {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #gateway: string;
  #bucket: Bucket<IdempotencyRecord> | undefined;

  constructor(deps: { clock: Clock; log: Logger; gateway: string }) {
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#gateway = deps.gateway;
  }

  /** Gives it its bucket, once the bus is there. */
  use(bucket: Bucket<IdempotencyRecord>): void {
    this.#bucket = bucket;
  }

  /**
   * Enters a request or finds its answer. @throws IDEMPOTENCY_IN_PROGRESS, IDEMPOTENCY_KEY_REUSED, CONFLICT, TIMEOUT when the
   * first request's gateway died and its effect is unknown, BUS_UNAVAILABLE (then nothing was done)
   */
  async begin(request: KeyedRequest): Promise<{ readonly ticket: Ticket } | { readonly answer: StoredAnswer }> {
    const bucket = this.#open();
    const kvKey = sha256(`${request.principal}\n${request.key}`);
    const record = this.#pending(request);
    try {
      const revision = await bucket.create(kvKey, record);
      return { ticket: { kvKey, revision, record, credential: request.credential } };
    } catch (error) {
      if (!isConflict(error)) throw notEntered(error);
    }
    const entry = await bucket.get(kvKey);
    if (!entry) throw inProgress();
    const { startedAt, sealed } = entry.value;
    const stored = { ...entry.value, startedAtMs: Date.parse(startedAt), answered: sealed !== null };
    switch (judgeRepeat(stored, { ...request, fingerprint: record.fingerprint }, this.#clock.now())) {
      case "replay":
        return { answer: unseal(entry.value, kvKey, request.credential) };
      case "in-progress":
        throw inProgress();
      case "reused":
        throw new DvError("IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key was used for another request.");
      case "lost":
        throw new DvError(
          "TIMEOUT",
          "The first request with this key never ended; whether it took effect is unknown. Read the state, then use a new key.",
        );
      case "take-over":
        return { ticket: await this.#takeOver(kvKey, record, entry.revision, request.credential) };
    }
  }

  /** Ends a request. A store that fails is logged: the caller has its answer, and a repeat is judged by its age. */
  async settle(ticket: Ticket, fate: Fate, answer: StoredAnswer): Promise<void> {
    const { kvKey, revision, record, credential } = ticket;
    try {
      if (fate === "release") return await this.#open().delete(kvKey, revision);
      const sealed = answer.body.length > MAX_ANSWER_BYTES ? null : seal(answer, kvKey, credential);
      const state = fate === "unknown" ? "unknown" : "done";
      await this.#open().update(
        kvKey,
        { ...record, state, endedAt: timestamp(this.#clock), status: answer.status, sealed },
        revision,
      );
    } catch (error) {
      this.#log.warn(
        { requestId: record.requestId, error: String(error) },
        "the answer of a request with Idempotency-Key was not stored",
      );
    }
  }

  async #takeOver(kvKey: string, record: IdempotencyRecord, before: number, credential: string): Promise<Ticket> {
    try {
      return { kvKey, record, credential, revision: await this.#open().update(kvKey, record, before) };
    } catch (error) {
      throw isConflict(error) ? inProgress() : error;
    }
  }

  #pending(
    request: Pick<KeyedRequest, "principal" | "operation" | "method" | "path" | "input" | "requestId">,
  ): IdempotencyRecord {
    return {
      state: "pending",
      principal: request.principal,
      operation: request.operation,
      fingerprint: sha256(`${request.method} ${request.path}\n${JSON.stringify(request.input)}`),
      gateway: this.#gateway,
      requestId: request.requestId,
      startedAt: timestamp(this.#clock),
      endedAt: null,
      status: null,
      sealed: null,
    };
  }

  #open(): Bucket<IdempotencyRecord> {
    if (!this.#bucket) throw new DvError("UNAVAILABLE", "The gateway is not connected to the bus yet.");
    return this.#bucket;
  }
}

function seal(answer: StoredAnswer, kvKey: string, credential: string): string {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv(CIPHER, sealingKey(kvKey, credential), iv);
  const text = Buffer.concat([cipher.update(JSON.stringify(answer), "utf8"), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), text]).toString("base64");
}

function unseal(record: IdempotencyRecord, kvKey: string, credential: string): StoredAnswer {
  if (record.sealed === null) {
    throw new DvError(
      "CONFLICT",
      `The first request with this key ended with status ${record.status ?? 0}; its answer was too large to keep.`,
    );
  }
  try {
    const bytes = Buffer.from(record.sealed, "base64");
    const decipher = createDecipheriv(CIPHER, sealingKey(kvKey, credential), bytes.subarray(0, IV_BYTES));
    decipher.setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
    const text = Buffer.concat([decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]).toString(
      "utf8",
    );
    return JSON.parse(text) as StoredAnswer;
  } catch (error) {
    throw new DvError("IDEMPOTENCY_KEY_REUSED", "The stored answer belongs to another credential.", { cause: error });
  }
}

function sealingKey(kvKey: string, credential: string): Buffer {
  return Buffer.from(hkdfSync("sha256", credential, kvKey, "debvisor stored answer", 32));
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function isConflict(error: unknown): boolean {
  return error instanceof DvError && error.code === "CONFLICT";
}

/** Nothing has been begun yet: whether the key got in is all that is unknown, and a repeat finds out. */
function notEntered(error: unknown): unknown {
  if (!(error instanceof DvError) || error.kind !== "timeout") return error;
  return new DvError("BUS_UNAVAILABLE", "The Idempotency-Key could not be entered in time; nothing was done.", {
    cause: error,
  });
}

function inProgress(): DvError {
  return new DvError("IDEMPOTENCY_IN_PROGRESS", "The first request with this Idempotency-Key has not ended yet.");
}
