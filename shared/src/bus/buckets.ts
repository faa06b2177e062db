// SPDX-License-Identifier: Apache-2.0
/**
 * Key-value buckets (JetStream KV, ADR-8) whose values are JSON checked by a schema. Reads and first writes go through
 * `@nats-io/kv`; writes at a revision and watching go beside it, because the library drops their time to live and cannot resume
 * the other.
 */
import type { BucketName } from "@debvisor/proto-events/streams";
import { JetStreamApiError, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { type KV, Kvm } from "@nats-io/kv";
import { headers as createHeaders, type NatsConnection } from "@nats-io/nats-core";
import type { z } from "zod";
import { DvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Bucket, BucketChange, BucketEntry, Closable } from "./bus.ts";
import { readAck } from "./events.ts";
import { readOrdered } from "./ordered.ts";
import { bucketStream } from "./permissions.ts";
import { busError, HEADER } from "./wire.ts";

const WRONG_LAST_SEQUENCE: ReadonlySet<unknown> = new Set([10_071, 10_164]);
const TIMEOUT_MS = 3_000;

/** Opens a bucket. @throws BUS_UNAVAILABLE */
export async function openBucket<T>(
  connection: NatsConnection,
  name: BucketName,
  schema: z.ZodType<T>,
  log: Logger,
): Promise<Bucket<T>> {
  try {
    const kv = await new Kvm(jetstream(connection, { checkAPI: false, timeout: TIMEOUT_MS })).open(name);
    return new JsonBucket(connection, kv, name, schema, log);
  } catch (error) {
    throw busError(error, `the bucket ${name}`);
  }
}

class JsonBucket<T> implements Bucket<T> {
  readonly #connection: NatsConnection;
  readonly #kv: KV;
  readonly #name: BucketName;
  readonly #schema: z.ZodType<T>;
  readonly #log: Logger;

  constructor(connection: NatsConnection, kv: KV, name: BucketName, schema: z.ZodType<T>, log: Logger) {
    this.#connection = connection;
    this.#kv = kv;
    this.#name = name;
    this.#schema = schema;
    this.#log = log;
  }

  async get(key: string): Promise<BucketEntry<T> | undefined> {
    return (await this.#read(key)).entry;
  }

  async look(key: string): Promise<BucketChange<T>> {
    const { isThere, entry, revision } = await this.#read(key);
    if (isThere && !entry)
      throw new DvError("CONFLICT", `The entry ${this.#name}/${key} is not of a kind that this version knows.`);
    return { key, revision, entry };
  }

  async list(): Promise<BucketEntry<T>[]> {
    const found = new Map<string, BucketEntry<T>>();
    const first = Promise.withResolvers<void>();
    const onChange = ({ key, entry }: BucketChange<T>) => {
      if (entry) found.set(key, entry);
      else found.delete(key);
    };
    const timer = setTimeout(
      () => first.reject(new DvError("BUS_UNAVAILABLE", `${this.#name} is not read.`)),
      TIMEOUT_MS,
    );
    // The time may be over before anybody waits for it: then the watch has failed, or it is about to be waited for.
    first.promise.catch(() => undefined);
    try {
      const watch = await this.watch(onChange, first.resolve);
      await first.promise.finally(() => watch.stop());
    } finally {
      clearTimeout(timer);
    }
    return [...found.values()];
  }

  create(key: string, value: T, options: { ttlSeconds?: number } = {}): Promise<number> {
    const ttl = options.ttlSeconds === undefined ? undefined : `${options.ttlSeconds}s`;
    return this.#try(`creating ${this.#name}/${key}`, () => this.#kv.create(key, this.#encode(value), ttl));
  }

  update(key: string, value: T, revision: number, options: { ttlSeconds?: number } = {}): Promise<number> {
    const { ttlSeconds } = options;
    const extra = ttlSeconds === undefined ? {} : { [HEADER.ttl]: `${ttlSeconds}s` };
    return this.#try(`updating ${this.#name}/${key}`, () => this.#write(key, this.#encode(value), revision, extra));
  }

  async delete(key: string, revision?: number): Promise<void> {
    await this.#try(`deleting ${this.#name}/${key}`, async () => {
      if (revision === undefined) await this.#kv.delete(key);
      else await this.#write(key, "", revision, { [HEADER.kvOperation]: "DEL" });
    });
  }

  lastRevision(): Promise<number> {
    return this.#try(`the state of ${this.#name}`, async () => {
      const manager = await jetstreamManager(this.#connection, { checkAPI: false, timeout: TIMEOUT_MS });
      return (await manager.streams.info(bucketStream(this.#name))).state.last_seq;
    });
  }

  watch(onChange: (change: BucketChange<T>) => void, onReady?: () => void): Promise<Closable> {
    let pending = Number.POSITIVE_INFINITY;
    let ready = false;
    const announce = () => {
      if (ready || pending > 0) return;
      ready = true;
      onReady?.();
    };
    const prefix = `$KV.${this.#name}.`;
    return readOrdered(this.#connection, {
      stream: bucketStream(this.#name),
      from: "last-per-subject",
      log: this.#log,
      onConsumer: (count) => {
        pending = count;
        announce();
      },
      onMessage: (message) => {
        const key = message.subject.slice(prefix.length);
        const gone = message.headers?.has(HEADER.kvOperation) || message.headers?.has(HEADER.markerReason);
        const revision = message.seq;
        onChange({ key, revision, entry: gone ? undefined : this.#decode(key, message.string(), revision) });
        pending--;
        announce();
      },
    });
  }

  async #read(key: string): Promise<BucketChange<T> & { readonly isThere: boolean }> {
    const found = await this.#try(`reading ${this.#name}/${key}`, () => this.#kv.get(key));
    const [isThere, revision] = [found?.operation === "PUT", found?.revision ?? 0];
    return { key, revision, isThere, entry: isThere ? this.#decode(key, found?.string() ?? "", revision) : undefined };
  }

  /** The library takes neither a time to live with an update, nor revision 0: that nothing was ever written. */
  async #write(key: string, text: string, revision: number, extra: Readonly<Record<string, string>>): Promise<number> {
    const headers = createHeaders();
    headers.set(HEADER.expectedLastSubjectSequence, String(revision));
    for (const [name, value] of Object.entries(extra)) headers.set(name, value);
    const subject = `$KV.${this.#name}.${key}`;
    const reply = await this.#connection.request(subject, text, { timeout: TIMEOUT_MS, headers });
    return readAck(reply.string()).seq;
  }

  #encode(value: T): string {
    return JSON.stringify(value);
  }

  /** A value that its schema refuses is reported and treated as absent: one bad entry must not stop every reader. */
  #decode(key: string, text: string, revision: number): BucketEntry<T> | undefined {
    try {
      return { key, value: this.#schema.parse(JSON.parse(text)), revision };
    } catch (error) {
      this.#log.error(
        { bucket: this.#name, key, revision, error: String(error) },
        "a bucket holds a value that its schema refuses",
      );
      return undefined;
    }
  }

  async #try<R>(what: string, action: () => Promise<R>): Promise<R> {
    try {
      return await action();
    } catch (error) {
      if (isConflict(error))
        throw new DvError("CONFLICT", `Somebody else changed the entry while ${what}.`, { cause: error });
      const failure = busError(error, what);
      // No leader listens; unlike a service that nobody is, it may have taken what was sent before.
      if (failure.code !== "UNAVAILABLE") throw failure;
      throw new DvError("BUS_UNAVAILABLE", `The bus did not carry ${what}.`, { cause: error });
    }
  }
}

/** Whether a stream refused a write because its expected last sequence is not the last. */
export function isConflict(error: unknown): boolean {
  if (error instanceof JetStreamApiError) return WRONG_LAST_SEQUENCE.has(error.code);
  return error instanceof DvError && WRONG_LAST_SEQUENCE.has(error.details?.["errCode"]);
}
