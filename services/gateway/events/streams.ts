// SPDX-License-Identifier: Apache-2.0
/** The open event streams of this gateway: how many each caller has, whether its key still holds, and live telemetry. */
import { EVENTS_PERMISSION } from "@debvisor/proto-events/gateway";
import type { Contract } from "@debvisor/proto-events/kit";
import type { Bus, Closable, TelemetryMessage } from "@debvisor/shared/bus/bus";
import { timestamp } from "@debvisor/shared/clock";
import type { Logger } from "@debvisor/shared/log";
import type { Principal } from "../auth/principal.ts";
import type { GatewayConfig } from "../config.ts";
import type { Subscription } from "../model/event-query.ts";
import { rateLimited } from "../problem.ts";
import type { EventHub } from "./hub.ts";
import { type EndReason, type Sink, Subscriber } from "./subscriber.ts";

/** What the streams tell the metrics. */
export interface StreamCounts {
  open: number;
  cut: number;
  telemetryDropped: number;
}

export interface StreamsDeps {
  readonly bus: Bus;
  readonly hub: EventHub;
  readonly log: Logger;
  readonly config: GatewayConfig["events"];
  readonly contracts: readonly Contract[];
  readonly nodesJson: () => string;
  /** The principal of a key as it is now. */
  readonly current: (id: string) => Principal | undefined;
}

/** Subscribers that may read the stream itself at the same time; each reader is a consumer on the servers. */
const READERS = 16;

export class EventStreams {
  readonly counts: StreamCounts = { open: 0, cut: 0, telemetryDropped: 0 };
  readonly #deps: StreamsDeps;
  readonly #open = new Map<string, Set<Subscriber>>();
  readonly #telemetry = new Set<Subscriber>();
  readonly #waiting: (() => void)[] = [];
  #sources: Closable[] = [];
  #readers = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: StreamsDeps) {
    this.#deps = deps;
  }

  /** Starts the checks of open streams. */
  start(): void {
    this.#timer = setInterval(() => this.#reauthorise(), this.#deps.config.reauthoriseMs).unref();
  }

  /** Ends every stream. */
  stop(): void {
    clearInterval(this.#timer);
    this.#each((subscriber) => subscriber.end("stopping"));
  }

  /** Refuses a caller that has its share of streams already. @throws RATE_LIMITED */
  admit(principal: Principal): void {
    const limit = this.#deps.config.perPrincipal;
    if (limit > 0 && (this.#open.get(principal.id)?.size ?? 0) >= limit) {
      throw rateLimited(`A caller may have ${limit} event streams open; close one first.`, 1_000);
    }
  }

  /** Opens a stream. The caller tells of the connection's end by `close`. */
  open(
    principal: Principal,
    subscription: Subscription,
    sink: Sink,
  ): { readonly close: () => void; readonly end: (reason: EndReason) => void } {
    const { bus, hub, nodesJson, config, log } = this.#deps;
    const subscriber = new Subscriber({
      hub,
      bus,
      sink,
      subscription,
      nodesJson,
      queueBytes: config.queueBytes,
      onCut: () => {
        this.counts.cut++;
        log.info({ principal: principal.id, wire: sink.wire }, "cut a slow subscriber");
      },
      slot: (work) => this.#slot(work),
    });
    const own = this.#open.get(principal.id) ?? new Set();
    this.#open.set(principal.id, own.add(subscriber));
    this.counts.open++;
    if (subscription.telemetry) this.#addTelemetry(subscriber);
    subscriber.run().catch((error: unknown) => {
      log.warn({ principal: principal.id, error: String(error) }, "an event stream cannot be read");
      subscriber.end("unavailable");
    });
    const close = () => {
      subscriber.close();
      if (!own.delete(subscriber)) return;
      this.counts.open--;
      if (own.size === 0 && this.#open.get(principal.id) === own) this.#open.delete(principal.id);
      this.#removeTelemetry(subscriber);
    };
    return { close, end: (reason) => subscriber.end(reason) };
  }

  /** Ends the streams of a key. */
  endOf(id: string): void {
    for (const subscriber of [...(this.#open.get(id) ?? [])]) subscriber.end("revoked");
  }

  #reauthorise(): void {
    for (const id of [...this.#open.keys()]) {
      if (!this.#deps.current(id)?.permissions.has(EVENTS_PERMISSION)) this.endOf(id);
    }
  }

  #each(visit: (subscriber: Subscriber) => void): void {
    for (const own of [...this.#open.values()]) for (const subscriber of [...own]) visit(subscriber);
  }

  async #slot<T>(work: () => Promise<T>): Promise<T> {
    if (this.#readers >= READERS) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#readers++;
    try {
      return await work();
    } finally {
      // A place that somebody waits for is handed on, not given back.
      const next = this.#waiting.shift();
      if (next) next();
      else this.#readers--;
    }
  }

  #addTelemetry(subscriber: Subscriber): void {
    this.#telemetry.add(subscriber);
    if (this.#sources.length > 0) return;
    for (const { service, telemetry } of this.#deps.contracts) {
      for (const what of Object.keys(telemetry ?? {})) {
        this.#sources.push(this.#deps.bus.onTelemetry(service, what, (message) => this.#relay(message)));
      }
    }
  }

  #removeTelemetry(subscriber: Subscriber): void {
    this.#telemetry.delete(subscriber);
    if (this.#telemetry.size > 0) return;
    for (const source of this.#sources) void source.stop();
    this.#sources = [];
  }

  #relay({ origin, service, what, data }: TelemetryMessage): void {
    const telemetry = `${service}.${what}`;
    const json = JSON.stringify({ telemetry, source: origin, time: timestamp(), data });
    for (const subscriber of this.#telemetry) {
      if (!subscriber.relay({ type: telemetry, origin }, json)) this.counts.telemetryDropped++;
    }
  }
}
