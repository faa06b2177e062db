// SPDX-License-Identifier: Apache-2.0
/** What services see of the message bus. The implementation is `connect.ts`; nothing outside this folder imports NATS. */
import type { Contract, Handlers, Input, Output, Payload, Request, Scope } from "@debvisor/proto-events/kit";
import type { EventEnvelope, TargetStatus, WireError } from "@debvisor/proto-events/replies";
import type { BucketName } from "@debvisor/proto-events/streams";
import type { z } from "zod";
import type { Logger } from "../log.ts";

/** What a handler knows about the request besides its input. */
export interface RequestContext {
  readonly requestId: string;
  readonly actor: string;
  /** Aborts when the operation's time is over. */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** Options of a request. */
export interface CallOptions {
  readonly requestId?: string;
  readonly actor?: string;
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
  readonly entry: BucketEntry<T> | undefined;
}

/** A key-value bucket whose values are JSON checked by a schema. Writes are acknowledged; conflicts throw CONFLICT. */
export interface Bucket<T> {
  get(key: string): Promise<BucketEntry<T> | undefined>;
  /** Writes only if the key does not exist. `ttlSeconds` needs a bucket with `ttl`. @throws CONFLICT, BUS_UNAVAILABLE */
  create(key: string, value: T, options?: { ttlSeconds?: number }): Promise<number>;
  /** Writes only if the last revision is the given one. @throws CONFLICT, BUS_UNAVAILABLE */
  update(key: string, value: T, revision: number, options?: { ttlSeconds?: number }): Promise<number>;
  /** Deletes; with a revision only if it is still the last. @throws CONFLICT, BUS_UNAVAILABLE */
  delete(key: string, revision?: number): Promise<void>;
  /** Reads everything once, then calls back on each change; `onReady` after the first pass. Survives reconnects. */
  watch(onChange: (change: BucketChange<T>) => void, onReady?: () => void): Promise<Closable>;
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

/** One connection to the bus under one credential. */
export interface Bus {
  /** User that the server authenticated: a node id, or `<service>-<node id>` of a core part. */
  readonly user: string;
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

  /** Calls one operation. Target is a node id or `core`. @throws the operation's errors, UNAVAILABLE, TIMEOUT, MALFORMED_REPLY */
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
