// SPDX-License-Identifier: Apache-2.0
/**
 * Every API key, in memory. The copy follows the bucket by watch, so a key that one gateway revokes is refused by all as soon
 * as the change arrives. Keys that were verified are remembered by their text: the next request costs one look-up instead
 * of a hash. `lastUsedAt` is written beside the requests, at most once a minute for each key.
 */
import { timingSafeEqual } from "node:crypto";
import type { Bucket, BucketChange, Closable } from "@debvisor/shared/bus/bus";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import type { Grant } from "../model/permissions.ts";
import { type Principal, toPrincipal } from "./principal.ts";
import { hashSecret, parseKey, type TokenRecord } from "./token-record.ts";

/** Why a key was not accepted. */
export type AuthFailure = "missing" | "malformed" | "unknown" | "expired" | "revoked";

const BEARER = "Bearer ";
const MAX_VERIFIED = 10_000;
const USED_EVERY_MS = 60_000;
const FLUSH_EVERY_MS = 5_000;
const CAS_ATTEMPTS = 5;

export class TokenStore {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #grants: readonly Grant[];
  readonly #records = new Map<string, TokenRecord>();
  readonly #principals = new Map<string, Principal>();
  readonly #verified = new Map<string, Principal>();
  readonly #used = new Map<string, number>();
  #bucket: Bucket<TokenRecord> | undefined;
  #watch: Closable | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** True once every stored key is known. */
  loaded = false;
  /** Told the id of a key that is no longer valid. */
  onInvalidated: (id: string) => void = () => undefined;

  constructor(deps: { clock: Clock; log: Logger; grants: readonly Grant[] }) {
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#grants = deps.grants;
  }

  /** Starts to follow the bucket. @throws BUS_UNAVAILABLE */
  async start(bucket: Bucket<TokenRecord>): Promise<void> {
    this.#bucket = bucket;
    this.#watch = await bucket.watch(
      (change) => this.#apply(change),
      () => {
        this.loaded = true;
      },
    );
    this.#timer = setInterval(() => void this.flushUsed(), FLUSH_EVERY_MS).unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#watch?.stop();
  }

  /** Checks an Authorization header. The hot path: one map look-up for a key seen before. */
  authenticate(header: string | undefined): Principal | AuthFailure {
    const known = header === undefined ? undefined : this.#verified.get(header);
    if (!known) return this.#verify(header);
    const now = this.#clock.now();
    if (now >= known.expiresAtMs) return "expired";
    this.#used.set(known.id, now);
    return known;
  }

  /** The principal of a key, if it is still valid: for streams that stay open. */
  current(id: string): Principal | undefined {
    const principal = this.#principals.get(id);
    return principal && this.#clock.now() < principal.expiresAtMs ? principal : undefined;
  }

  /** Every key, the oldest first. */
  list(): readonly TokenRecord[] {
    return [...this.#records.values()].sort(
      (a, b) => a.createdAt.localeCompare(b.createdAt) || a.id.localeCompare(b.id),
    );
  }

  /** Stores a new key. @throws CONFLICT when the id is taken, BUS_UNAVAILABLE */
  async add(record: TokenRecord): Promise<void> {
    await this.#open().create(record.id, record);
    // The watch brings it as well; the caller's next request must not have to wait for that.
    this.#apply({ key: record.id, revision: 0, entry: { key: record.id, value: record, revision: 0 } });
  }

  /** Revokes a key; one that is revoked already stays as it is. @throws TOKEN_NOT_FOUND, BUS_UNAVAILABLE */
  async revoke(id: string): Promise<{ readonly record: TokenRecord; readonly changed: boolean }> {
    return await this.#change(id, (record) =>
      record.revokedAt === null ? { ...record, revokedAt: timestamp(this.#clock) } : undefined,
    );
  }

  /** Writes when keys were last used. Another gateway may have done so meanwhile; then nothing is written. */
  async flushUsed(): Promise<void> {
    const now = this.#clock.now();
    for (const [id, usedAtMs] of this.#used) {
      const record = this.#records.get(id);
      if (
        record &&
        record.revokedAt === null &&
        now - Date.parse(record.lastUsedAt ?? "1970-01-01T00:00:00.000Z") < USED_EVERY_MS
      )
        continue;
      this.#used.delete(id);
      if (!record || record.revokedAt !== null) continue;
      const lastUsedAt = new Date(usedAtMs).toISOString();
      try {
        await this.#change(id, (current) =>
          current.revokedAt === null && (current.lastUsedAt ?? "") < lastUsedAt
            ? { ...current, lastUsedAt }
            : undefined,
        );
      } catch (error) {
        this.#log.debug({ id, error: String(error) }, "time of last use not written");
      }
    }
  }

  async #change(
    id: string,
    edit: (record: TokenRecord) => TokenRecord | undefined,
  ): Promise<{ record: TokenRecord; changed: boolean }> {
    const bucket = this.#open();
    for (let attempt = 1; ; attempt++) {
      const entry = await bucket.get(id);
      if (!entry) throw new DvError("TOKEN_NOT_FOUND", `No token has the id ${id}.`);
      const record = edit(entry.value);
      if (!record) return { record: entry.value, changed: false };
      try {
        const revision = await bucket.update(id, record, entry.revision);
        this.#apply({ key: id, revision, entry: { key: id, value: record, revision } });
        return { record, changed: true };
      } catch (error) {
        if (attempt >= CAS_ATTEMPTS || !(error instanceof DvError) || error.code !== "CONFLICT") throw error;
      }
    }
  }

  #verify(header: string | undefined): Principal | AuthFailure {
    if (header === undefined || header === "") return "missing";
    const parsed = header.startsWith(BEARER) ? parseKey(header.slice(BEARER.length)) : undefined;
    if (!parsed) return "malformed";
    const record = this.#records.get(parsed.id);
    // An unknown id is compared as well, with a hash that nothing has, so that both take the same time.
    const expected = Buffer.from(record?.hash ?? "0".repeat(64), "hex");
    const same = timingSafeEqual(Buffer.from(hashSecret(parsed.secret), "hex"), expected);
    if (!record || !same) return "unknown";
    if (record.revokedAt !== null) return "revoked";
    const principal = this.#principals.get(record.id);
    if (!principal || this.#clock.now() >= principal.expiresAtMs) return "expired";
    if (this.#verified.size >= MAX_VERIFIED) this.#verified.clear();
    this.#verified.set(header, principal);
    this.#used.set(record.id, this.#clock.now());
    return principal;
  }

  #apply({ key, entry }: BucketChange<TokenRecord>): void {
    const before = this.#records.get(key);
    const record = entry?.value;
    // Repeated deliveries and the echo of our own writes must not bring an older state back.
    if (record && before?.revokedAt && !record.revokedAt) return;
    if (record) this.#records.set(key, record);
    else this.#records.delete(key);
    if (record && before && sameRights(before, record)) return;
    this.#principals.delete(key);
    for (const [header, principal] of this.#verified) if (principal.id === key) this.#verified.delete(header);
    if (record && record.revokedAt === null) this.#principals.set(key, toPrincipal(record, this.#grants));
    else if (before) this.onInvalidated(key);
  }

  #open(): Bucket<TokenRecord> {
    if (!this.#bucket) throw new DvError("UNAVAILABLE", "The gateway has not loaded the keys yet.");
    return this.#bucket;
  }
}

function sameRights(a: TokenRecord, b: TokenRecord): boolean {
  return (
    a.hash === b.hash &&
    a.role === b.role &&
    a.revokedAt === b.revokedAt &&
    a.expiresAt === b.expiresAt &&
    a.scopes.join() === b.scopes.join()
  );
}
