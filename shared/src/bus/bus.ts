// SPDX-License-Identifier: Apache-2.0
/** What services see of the message bus. The implementation is `connect.ts`; nothing outside this folder imports NATS. */
import type { Contract, Handlers, Input, Output, Payload, Request, Scope } from "@debvisor/proto-events/kit";
import type { EventEnvelope, TargetStatus, WireError } from "@debvisor/proto-events/replies";
import type { BucketName, StreamName } from "@debvisor/proto-events/streams";
import type { z } from "zod";
import type { Logger } from "../log.ts";

/** What a handler knows about the request besides its input. */
export interface RequestContext {
  readonly requestId: string;
  readonly actor: string;
  /** Who typed it, as the caller's command says; undefined when it does not say. */
  readonly user: string | undefined;
  /** Address of the caller, as the gateway saw it. */
  readonly source: string | undefined;
  /** Trace id of the request, 32 hexadecimal digits. */
  readonly traceId: string | undefined;
  /** Id of the operation that the request belongs to, as whoever submits it made it; not checked. */
  readonly operation: string | undefined;
  /** The order that came with it, verified; present for every operation of scope `node` that is no read. */
  readonly order: Order | undefined;
  /** Aborts when the operation's time is over. */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/**
 * What an order to a node belongs to (RULES.md 11 and 23): the step of an operation, in one direction, under one epoch of its
 * owner. `fence` grows with every grant of the lock on `resource`; the node refuses what is older than what it has seen.
 */
export interface Order {
  readonly operation: string;
  readonly step: string;
  readonly direction: "do" | "undo";
  readonly epoch: number;
  readonly resource: string | null;
  readonly fence: number | null;
}

/** Options of a request. */
export interface CallOptions {
  readonly requestId?: string;
  readonly actor?: string;
  /** Who typed it, and from where; at most 200 printable characters each. */
  readonly user?: string | undefined;
  readonly source?: string | undefined;
  /** Id of the operation that the request belongs to. */
  readonly operation?: string | undefined;
  /** Default: the operation's `timeoutMs`. */
  readonly timeoutMs?: number;
  readonly traceparent?: string;
}

/** Options of publishing an event. */
export interface PublishOptions {
  /** What the event is about, such as a node id. */
  readonly subject: string;
  /** Id of the event when it was stored beforehand (an outbox): 32 hexadecimal digits, random. Default: made here. */
  readonly id?: string;
  readonly requestId?: string;
  readonly actor?: string;
  /** Longest time for retries until the acknowledgement, in milliseconds; default 15,000. */
  readonly patienceMs?: number;
}

/** Something that can be ended. */
export interface Closable {
  stop(): Promise<void>;
}

/** How one target of a scatter ended. `raw` holds the bytes of a good answer's body. */
export interface TargetAnswer {
  readonly node: string;
  readonly status: TargetStatus;
  /** Milliseconds from the start of the scatter to the answer. */
  readonly ms: number;
  readonly raw?: string;
  readonly error?: WireError;
}

/** A request to many nodes at once. */
export interface Scatter {
  /** One answer per target, in order of arrival; ends after the last target or at the deadline. */
  readonly answers: AsyncIterable<TargetAnswer>;
}

/** An entry of a bucket. */
export interface BucketEntry<T> {
  readonly key: string;
  readonly value: T;
  readonly revision: number;
}

/** A change of a bucket; `entry` is undefined when the key was deleted. */
export interface BucketChange<T> {
  readonly key: string;
  /** Of the entry, or of the deletion; it tells a change that is older than a write of one's own. */
  readonly revision: number;
  readonly entry: BucketEntry<T> | undefined;
}

/** A key-value bucket whose values are JSON checked by a schema. Writes are acknowledged; conflicts throw CONFLICT. */
export interface Bucket<T> {
  get(key: string): Promise<BucketEntry<T> | undefined>;
  /** Every entry that is there now, in no order. @throws BUS_UNAVAILABLE */
  list(): Promise<BucketEntry<T>[]>;
  /** Writes only if the key does not exist. `ttlSeconds` needs a bucket with `ttl`. @throws CONFLICT, BUS_UNAVAILABLE */
  create(key: string, value: T, options?: { ttlSeconds?: number }): Promise<number>;
  /**
   * What was written last at a key, a deletion too, with its revision; 0 when nothing ever was. @throws CONFLICT when an entry is
   * there that its schema refuses, BUS_UNAVAILABLE
   */
  look(key: string): Promise<BucketChange<T>>;
  /** Writes only if the last revision, of the entry or of its deletion, is the given one. @throws CONFLICT, BUS_UNAVAILABLE */
  update(key: string, value: T, revision: number, options?: { ttlSeconds?: number }): Promise<number>;
  /** Deletes; with a revision, which may be that of a deletion, only if it is still the last. @throws CONFLICT, BUS_UNAVAILABLE */
  delete(key: string, revision?: number): Promise<void>;
  /** Revision of the latest write to any key, as the leader has it; 0 when there was none. @throws BUS_UNAVAILABLE */
  lastRevision(): Promise<number>;
  /** Reads everything once, then calls back on each change; `onReady` after the first pass. Survives reconnects. */
  watch(onChange: (change: BucketChange<T>) => void, onReady?: () => void): Promise<Closable>;
}

/** A record of a journal. `key` is the last token of its subject; `text` the stored bytes as UTF-8. */
export interface JournalEntry {
  readonly key: string;
  readonly seq: number;
  readonly timeMs: number;
  readonly text: string;
}

/** How far a journal reaches, and how full it is. */
export interface JournalRange {
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly bytes: number;
  /** Bytes at which it takes no more. */
  readonly maxBytes: number;
}

/**
 * An append-only stream with one subject for each key. Appends are guarded by the last sequence of the key (0: none yet), so
 * that of two writers one learns that it is not alone.
 */
export interface Journal {
  /**
   * Appends and waits for the acknowledgement; returns the sequence. `id` (32 hexadecimal digits, random) makes a repeat
   * harmless: it is answered with the sequence under which the record is stored. In the audit trail only as long as the key's
   * last record is that one. @throws CONFLICT when the key's last sequence is another one, BUS_UNAVAILABLE when unknown
   */
  append(key: string, text: string, options: { readonly expected: number; readonly id: string }): Promise<number>;
  /** Every record of a key, oldest first, as the stream's leader has them. @throws BUS_UNAVAILABLE */
  read(key: string): Promise<JournalEntry[]>;
  /** The record with that sequence, as the stream's leader has it; undefined when there is none. @throws BUS_UNAVAILABLE */
  at(seq: number): Promise<JournalEntry | undefined>;
  /** The last record of a key; of the audit trail as any replica has it, which may lag behind. @throws BUS_UNAVAILABLE */
  last(key: string): Promise<JournalEntry | undefined>;
  /** Follows the whole stream in order from a sequence on, each record once, over reconnects. */
  follow(options: {
    readonly fromSeq: number;
    readonly onEntry: (entry: JournalEntry) => void | Promise<void>;
    /** Called when a reader stands, with the number of records that it has yet to deliver. */
    readonly onStand?: (pending: number) => void;
  }): Promise<Closable>;
  /** First and last sequence, and its size; `firstSeq` is `lastSeq + 1` when it is empty. @throws BUS_UNAVAILABLE */
  range(): Promise<JournalRange>;
}

/** A telemetry message as received. */
export interface TelemetryMessage<T = unknown> {
  readonly origin: string;
  readonly service: string;
  readonly what: string;
  readonly data: T;
}

/** A stored event as read back. `json` is the stored text. */
export interface StoredEvent {
  readonly seq: number;
  readonly origin: string;
  readonly type: string;
  readonly timeMs: number;
  readonly json: string;
}

/** How many requests were answered, and in how many milliseconds altogether. */
export interface RequestCounts {
  readonly requests: number;
  readonly errors: number;
  readonly totalMs: number;
}

/** A description that a service instance gives of itself under `$SRV`. */
export interface InstanceStats {
  readonly service: string;
  readonly instance: string;
  readonly version: string;
  readonly startedAt: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly requests: number;
  readonly errors: number;
  readonly averageMs: number;
}

/** Where reading of the event stream starts. Without either: with the next event. */
export interface ReadEventsOptions {
  readonly fromSeq?: number;
  readonly fromTimeMs?: number;
  readonly onEvent: (event: StoredEvent) => void | Promise<void>;
}

/** The key of a connection's credential, for what is signed in its name beyond the bus. */
export interface Signer {
  readonly user: string;
  /** nkey, `U…`. */
  readonly publicKey: string;
  /** The user JWT that the cluster's authority signed for that key. */
  readonly jwt: string;
  /** Ed25519, 64 bytes. */
  sign(bytes: Uint8Array): Uint8Array;
}

/** A command that a node refused. `issuer` is the user it claims, when the envelope could be read. */
export interface Refusal {
  /** `<service>.<operation>`. */
  readonly command: string;
  readonly issuer: string | undefined;
  readonly cause: RefusalCause;
  readonly requestId: string;
}

/** Which check of a command failed. */
export type RefusalCause =
  | "missing"
  | "malformed"
  | "issuer"
  | "right"
  | "signature"
  | "node"
  | "command"
  | "arguments"
  | "expired"
  | "replayed";

/** One connection to the bus under one credential. */
export interface Bus {
  /** User that the server authenticated: a node id, or `<service>-<node id>` of a core part. */
  readonly user: string;
  /** Signs in this connection's name. */
  readonly signer: Signer;
  /** True while connected. */
  readonly connected: boolean;
  /** Number of reconnects since the start; readers of live streams compare it. */
  readonly reconnects: number;

  /**
   * Answers the operations of one scope of a contract until stopped. `elsewhere` counts what this instance answers by other
   * ways than the bus (the gateway: HTTP), so that its statistics tell all of its work.
   */
  serve<const C extends Contract, S extends Scope>(
    contract: C,
    scope: S,
    handlers: Handlers<C, S, RequestContext>,
    elsewhere?: () => RequestCounts,
  ): Promise<Closable>;

  /** Calls back for every command that what is served here refused, before the refusal is answered. */
  onRefused(callback: (refusal: Refusal) => void): void;

  /**
   * Calls one operation. Target is a node id or `core`; a core part that is just starting again is waited for, up to 3 s and half of
   * the operation's time. @throws the operation's errors, UNAVAILABLE, TIMEOUT, MALFORMED_REPLY
   */
  request<const C extends Contract, K extends keyof C["operations"] & string>(
    target: string,
    contract: C,
    operation: K,
    input: Request<C, K>,
    options?: CallOptions,
  ): Promise<Output<C, K>>;

  /** Calls one operation by its wire names and returns the reply's bytes unparsed (pass-through). @throws as `request` */
  requestRaw(
    target: string,
    service: string,
    wire: string,
    input: unknown,
    options: CallOptions & { timeoutMs: number },
  ): Promise<string>;

  /**
   * Gives a node an order: a request with an envelope that is signed with this connection's credential (RULES.md 11). The
   * credential needs the right to command that service. @throws as `request`, COMMAND_REFUSED, COMMAND_FENCED
   */
  command<const C extends Contract, K extends keyof C["operations"] & string>(
    node: string,
    contract: C,
    operation: K,
    input: Request<C, K>,
    order: Order,
    options?: CallOptions,
  ): Promise<Output<C, K>>;

  /** Sends one request to each of the targets and yields exactly one answer for each. */
  scatter(
    targets: readonly string[],
    service: string,
    wire: string,
    input: unknown,
    options: CallOptions & { timeoutMs: number; output?: z.ZodType },
  ): Scatter;

  /** Publishes an event and waits for the stream's acknowledgement, with retries under one id. @throws BUS_UNAVAILABLE */
  publishEvent<const C extends Contract, K extends keyof C["events"] & string>(
    contract: C,
    event: K,
    payload: Payload<C, K>,
    options: PublishOptions,
  ): Promise<{ envelope: EventEnvelope; seq: number }>;

  /** Publishes telemetry; not acknowledged, dropped while disconnected. */
  publishTelemetry<const C extends Contract>(
    contract: C,
    what: keyof NonNullable<C["telemetry"]> & string,
    payload: unknown,
  ): void;

  /** Calls back on telemetry of one kind from any origin; malformed messages are dropped and counted. */
  onTelemetry(service: string, what: string, callback: (message: TelemetryMessage) => void): Closable;

  /** Opens a bucket. */
  bucket<T>(name: BucketName, schema: z.ZodType<T>): Promise<Bucket<T>>;

  /** Opens an append-only stream. Needs no answer of the bus. */
  journal(stream: StreamName): Journal;

  /** Reads events in order, each once, resuming by itself over reconnects and broker restarts until stopped. @throws BUS_UNAVAILABLE */
  readEvents(options: ReadEventsOptions): Promise<Closable>;

  /** First and last sequence of the event stream; `firstSeq` is `lastSeq + 1` when it is empty. @throws BUS_UNAVAILABLE */
  eventRange(): Promise<{ firstSeq: number; lastSeq: number }>;

  /** Resolves when JetStream answers and the given streams exist and have a leader. @throws BUS_UNAVAILABLE */
  ready(streams?: readonly string[]): Promise<void>;

  /** Every service instance that answers `$SRV` within `waitMs`. */
  instances(waitMs: number): Promise<InstanceStats[]>;

  /** Ends the connection after what is in flight. */
  close(): Promise<void>;

  /** Round trip to the server in milliseconds. @throws BUS_UNAVAILABLE */
  rtt(): Promise<number>;
}

/** Input type helper re-exported for handlers. */
export type { Input };
