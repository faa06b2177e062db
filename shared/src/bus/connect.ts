// SPDX-License-Identifier: Apache-2.0
/** Connects to the bus under one credential and puts the parts of this folder together as a `Bus`. */
import { type Contract, type OperationSpec, wireName } from "@debvisor/proto-events/kit";
import type { BucketName } from "@debvisor/proto-events/streams";
import { inboxPrefix, parseTelemetrySubject, SUBJECT_FILTERS, telemetrySubject } from "@debvisor/proto-events/subjects";
import { AuthorizationError, type Msg, type MsgHdrs, type NatsConnection } from "@nats-io/nats-core";
import { z } from "zod";
import { type Clock, systemClock } from "../clock.ts";
import { DvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Tracing } from "../telemetry.ts";
import { openBucket } from "./buckets.ts";
import type { Bus, CallOptions, Closable, InstanceStats, Refusal, Signer, TelemetryMessage } from "./bus.ts";
import { CommandVerifier, sealCommand, signerOf } from "./command.ts";
import { CorePatience } from "./core-patience.ts";
import { dial, refusal } from "./dial.ts";
import { createEnvelope, EVENT_STREAM, eventRange, publishEnvelope, storedEvent } from "./events.ts";
import { openJournal } from "./journal.ts";
import { readOrdered } from "./ordered.ts";
import { ReconnectDelay } from "./reconnect-delay.ts";
import { parseData, requestText } from "./request.ts";
import { Scatterer } from "./scatter.ts";
import { type Counts, serveContract } from "./serve.ts";
import type { BusTls } from "./tls.ts";
import type { Credential } from "./trust.ts";
import { busError } from "./wire.ts";

/** How to connect. */
export interface ConnectOptions {
  /** `host:port` of the servers, in order of preference. Others are learned from them. */
  readonly servers: readonly string[];
  readonly credential: Credential;
  /** Without it the connection is in the clear, which only servers of a test rig take. */
  readonly tls?: BusTls;
  /** Origin of the events that this connection publishes: a node id or `core`. */
  readonly origin: string;
  readonly node: { readonly id: string; readonly name: string };
  readonly version: string;
  readonly log: Logger;
  /** Where the spans of answered requests go. */
  readonly tracing?: Tracing;
  /** Longest time until the first connection stands, in milliseconds; default 10,000. */
  readonly patienceMs?: number;
  /** Public keys of whoever may sign the users that give this node orders. Without any, every order is refused. */
  readonly commandSigners?: readonly string[];
  /** Clock of the life of orders. */
  readonly clock?: Clock;
}

/** Asks every service instance for its statistics (ADR-32). */
const ALL_STATS = "$SRV.STATS";

/** Longest time for which a request waits for a connection that is being made anew. */
const RECONNECT_PATIENCE_MS = 3_000;

/** A `Bus`, with the bare connection for the few jobs in `shared` that need it. */
export type ConnectedBus = Bus & { readonly connection: NatsConnection };

/**
 * Connects, retrying until patience runs out; later it reconnects by itself for as long as it is open.
 * @throws BUS_UNAVAILABLE
 */
export async function connectBus(options: ConnectOptions): Promise<ConnectedBus> {
  const delay = new ReconnectDelay();
  return new NatsBus(await dial(options, delay), options, delay);
}

class NatsBus implements ConnectedBus {
  readonly connection: NatsConnection;
  readonly user: string;
  readonly signer: Signer;
  connected = true;
  reconnects = 0;
  readonly #options: ConnectOptions;
  readonly #log: Logger;
  readonly #verifier: CommandVerifier;
  readonly #delay: ReconnectDelay;
  readonly #corePatience = new CorePatience(systemClock);
  readonly #shown = new Map<string, Counts>();
  #scatterer: Scatterer | undefined;

  constructor(connection: NatsConnection, options: ConnectOptions, delay: ReconnectDelay) {
    this.connection = connection;
    this.#delay = delay;
    this.user = options.credential.user;
    this.signer = signerOf(options.credential);
    this.#options = options;
    this.#verifier = new CommandVerifier({
      nodeId: options.node.id,
      signers: options.commandSigners ?? [],
      clock: options.clock ?? systemClock,
      log: options.log,
    });
    this.#log = options.log;
    void this.#followStatus();
  }

  serve: Bus["serve"] = (contract, scope, handlers, elsewhere) => {
    const { node, version, tracing } = this.#options;
    return serveContract(
      {
        connection: this.connection,
        log: this.#log,
        version,
        nodeId: node.id,
        nodeName: node.name,
        tracing,
        verifier: this.#verifier,
        shown: this.#shown,
      },
      contract,
      scope,
      handlers,
      elsewhere,
    );
  };

  onRefused(callback: (refusal: Refusal) => void): void {
    this.#verifier.onRefused(callback);
  }

  request: Bus["request"] = async (target, contract, operation, input, options = {}) => {
    const { spec, wire } = specOf(contract, operation);
    const text = await this.requestRaw(target, contract.service, wire, input, {
      timeoutMs: spec.timeoutMs,
      ...options,
    });
    return parseAnswer(contract, spec, wire, text) as never;
  };

  requestRaw: Bus["requestRaw"] = (target, service, wire, input, options) =>
    this.#send({ target, service, wire }, input, options);

  command: Bus["command"] = async (node, contract, operation, input, order, options = {}) => {
    const { spec, wire } = specOf(contract, operation);
    const text = await this.#send(
      { target: node, service: contract.service, wire },
      input,
      { timeoutMs: spec.timeoutMs, operation: order.operation, ...options },
      (headers, payload) => {
        const clock = this.#options.clock ?? systemClock;
        sealCommand(headers, this.signer, { cmd: `${contract.service}.${wire}`, node, order, payload, clock });
      },
    );
    return parseAnswer(contract, spec, wire, text) as never;
  };

  scatter: Bus["scatter"] = (targets, service, wire, input, options) => {
    this.#scatterer ??= new Scatterer(this.connection, inboxPrefix(this.user));
    const ready = this.connected ? undefined : this.#untilConnected(options.timeoutMs);
    return this.#scatterer.send(targets, service, wire, input, options, ready);
  };

  publishEvent: Bus["publishEvent"] = async (contract, event, payload, options) => {
    const envelope = createEnvelope(contract, event, payload, this.#options.origin, options);
    return { envelope, seq: await publishEnvelope(this.connection, envelope, options, this.#log) };
  };

  publishTelemetry<const C extends Contract>(
    contract: C,
    what: keyof NonNullable<C["telemetry"]> & string,
    payload: unknown,
  ): void {
    // While disconnected the client would buffer; telemetry that arrives late is worth nothing.
    if (!this.connected || this.connection.isClosed()) return;
    this.connection.publish(telemetrySubject(this.#options.origin, contract.service, what), JSON.stringify(payload));
  }

  onTelemetry(service: string, what: string, callback: (message: TelemetryMessage) => void): Closable {
    const subscription = this.connection.subscribe(SUBJECT_FILTERS.telemetryOfAll(service, what), {
      callback: (error, message) => {
        if (error) return;
        try {
          callback({ ...parseTelemetrySubject(message.subject), data: JSON.parse(message.string()) });
        } catch (cause) {
          this.#log.debug(
            { subject: message.subject, error: String(cause) },
            "telemetry that cannot be read was dropped",
          );
        }
      },
    });
    return { stop: () => Promise.resolve(subscription.unsubscribe()) };
  }

  bucket<T>(name: BucketName, schema: z.ZodType<T>) {
    return openBucket(this.connection, name, schema, this.#log);
  }

  journal: Bus["journal"] = (stream) =>
    openJournal({
      connection: this.connection,
      stream,
      log: this.#log,
      untilConnected: (patienceMs) => this.#untilConnected(patienceMs),
    });

  readEvents: Bus["readEvents"] = ({ fromSeq, fromTimeMs, onEvent }) =>
    readOrdered(this.connection, {
      stream: EVENT_STREAM,
      from: fromSeq !== undefined ? { seq: fromSeq } : fromTimeMs !== undefined ? { timeMs: fromTimeMs } : "new",
      log: this.#log,
      onMessage: (message) => {
        const event = storedEvent(message);
        return event ? onEvent(event) : undefined;
      },
    });

  eventRange: Bus["eventRange"] = () => eventRange(this.connection);

  async ready(streams: readonly string[] = []): Promise<void> {
    try {
      const subjects = ["$JS.API.INFO", ...streams.map((stream) => `$JS.API.STREAM.INFO.${stream}`)];
      const replies = await Promise.all(
        subjects.map((subject) => this.connection.request(subject, "", { timeout: 1_000 })),
      );
      if (!replies.every((reply) => isReady(reply.json())))
        throw new DvError("BUS_UNAVAILABLE", "A stream does not exist yet or has no leader.");
    } catch (error) {
      throw busError(error, "the state of JetStream");
    }
  }

  async instances(waitMs: number): Promise<InstanceStats[]> {
    try {
      const found = new Map<string, InstanceStats>();
      const answers = await this.connection.requestMany(ALL_STATS, "", { strategy: "timer", maxWait: waitMs });
      for await (const answer of answers) {
        // The library's client gives up on the whole list at the first answer that is no JSON.
        const instance = instanceStats(answer);
        if (instance) found.set(instance.instance, instance);
      }
      return [...found.values()];
    } catch (error) {
      throw busError(error, "the list of services");
    }
  }

  async rtt(): Promise<number> {
    try {
      return await this.connection.rtt();
    } catch (error) {
      throw busError(error, "a ping");
    }
  }

  async close(): Promise<void> {
    if (this.connection.isClosed()) return;
    // drain waits for the server; a server that is gone must not hold up a stop.
    await Promise.race([this.connection.drain().catch(() => undefined), systemClock.sleep(1_000)]);
    await Promise.race([this.connection.close().catch(() => undefined), systemClock.sleep(500)]);
  }

  #send(
    address: { readonly target: string; readonly service: string; readonly wire: string },
    input: unknown,
    options: CallOptions & { timeoutMs: number },
    seal?: (headers: MsgHdrs, payload: Uint8Array) => void,
  ): Promise<string> {
    const send = async (inMs: number) => {
      const from = systemClock.monotonic();
      if (!this.connected && !(await this.#untilConnected(inMs))) {
        throw new DvError("BUS_UNAVAILABLE", "The bus is not connected; nothing was sent.");
      }
      const timeoutMs = inMs - (systemClock.monotonic() - from);
      return await requestText(this.connection, address, input, { ...options, timeoutMs }, seal);
    };
    if (address.target !== "core") return send(options.timeoutMs);
    return this.#corePatience.send(address.service, options.timeoutMs, send);
  }

  /** The client throws away what is sent while it reconnects, so senders wait for it. False when it does not come back. */
  async #untilConnected(patienceMs: number): Promise<boolean> {
    if (this.connected) return true;
    const deadline = systemClock.monotonic() + Math.min(patienceMs / 2, RECONNECT_PATIENCE_MS);
    while (!this.connected && !this.connection.isClosed() && systemClock.monotonic() < deadline) {
      await systemClock.sleep(10);
    }
    return this.connected;
  }

  async #followStatus(): Promise<void> {
    for await (const status of this.connection.status()) {
      if (status.type === "disconnect") this.connected = false;
      if (status.type === "reconnect") {
        this.connected = true;
        this.reconnects++;
        this.#delay.connected();
      }
      if (status.type === "error") this.#onError(status.error);
    }
    this.connected = false;
  }

  #onError(error: Error): void {
    if (!(error instanceof AuthorizationError)) this.#log.warn({ error: String(error) }, "the bus reported an error");
    else if (this.#delay.refused()) this.#log.error({ error: String(error) }, refusal(this.#options));
  }
}

function specOf(contract: Contract, operation: string): { spec: OperationSpec; wire: string } {
  const spec = contract.operations[operation];
  if (!spec) throw new DvError("INTERNAL", `The contract ${contract.service} has no operation ${operation}.`);
  return { spec, wire: wireName(operation) };
}

function parseAnswer(contract: Contract, spec: OperationSpec, wire: string, text: string): unknown {
  const parsed = spec.output.safeParse(parseData(text));
  if (parsed.success) return parsed.data;
  throw new DvError("MALFORMED_REPLY", `The answer of ${contract.service} ${wire} does not match its schema.`, {
    cause: parsed.error,
  });
}

function isReady(reply: { error?: unknown; cluster?: { leader?: string } }): boolean {
  return !reply.error && (reply.cluster === undefined || Boolean(reply.cluster.leader));
}

const Stats = z.object({
  name: z.string(),
  id: z.string(),
  version: z.string(),
  started: z.string(),
  metadata: z.record(z.string(), z.string()).optional(),
  endpoints: z
    .array(z.object({ data: z.object({ requests: z.number(), errors: z.number(), totalMs: z.number() }).optional() }))
    .optional(),
});

function instanceStats(answer: Msg): InstanceStats | undefined {
  const parsed = Stats.safeParse(jsonOf(answer));
  if (!parsed.success) return undefined;
  const { data } = parsed;
  const counts = data.endpoints?.find((endpoint) => endpoint.data)?.data ?? { requests: 0, errors: 0, totalMs: 0 };
  return {
    service: data.name,
    instance: data.id,
    version: data.version,
    startedAt: data.started,
    metadata: data.metadata ?? {},
    requests: counts.requests,
    errors: counts.errors,
    averageMs: counts.requests === 0 ? 0 : counts.totalMs / counts.requests,
  };
}

function jsonOf(message: Msg): unknown {
  try {
    return message.json();
  } catch {
    return undefined;
  }
}
