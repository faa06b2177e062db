// SPDX-License-Identifier: Apache-2.0
/**
 * Reads a stream in order, each message once, over reconnects, leader changes and restarts of servers. The library's ordered
 * consumer recovers from gaps; this loop recovers from everything else by starting a new one after the last sequence seen.
 */
import {
  type Consumer,
  type ConsumerMessages,
  DeliverPolicy,
  type JetStreamClient,
  type JsMsg,
  jetstream,
} from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { systemClock } from "../clock.ts";
import type { Logger } from "../log.ts";
import type { Closable } from "./bus.ts";

export interface OrderedOptions {
  readonly stream: string;
  readonly filter?: string;
  /** Where to start: a sequence, a time, every subject's last message, or only what comes from now on. */
  readonly from: { readonly seq: number } | { readonly timeMs: number } | "last-per-subject" | "new";
  readonly onMessage: (message: JsMsg) => void | Promise<void>;
  /** Called when a new consumer stands, with the number of messages it has yet to deliver. */
  readonly onConsumer?: (pending: number) => void;
  readonly log: Logger;
}

const RETRY_MS = 150;
/** A stream without leader does not answer. */
const TIMEOUT_MS = 2_000;

/** Starts reading; resolves when the first consumer stands or after 5 s, whichever is sooner. Goes on until `stop`. */
export async function readOrdered(connection: NatsConnection, options: OrderedOptions): Promise<Closable> {
  const abort = new AbortController();
  const first = Promise.withResolvers<void>();
  const reader = new OrderedReader(connection, options, abort.signal, first.resolve);
  const done = reader.run();
  await Promise.race([first.promise, systemClock.sleep(5_000, abort.signal)]);
  return {
    stop: async () => {
      abort.abort();
      reader.interrupt();
      await Promise.race([done, systemClock.sleep(1_000)]);
    },
  };
}

class OrderedReader {
  readonly #connection: NatsConnection;
  readonly #js: JetStreamClient;
  readonly #options: OrderedOptions;
  readonly #signal: AbortSignal;
  readonly #onFirst: () => void;
  #last = 0;
  #messages: ConsumerMessages | undefined;
  /** Rejects when what is under way cannot succeed any more. */
  #broken = brokenPromise();
  #online = Promise.resolve();

  constructor(connection: NatsConnection, options: OrderedOptions, signal: AbortSignal, onFirst: () => void) {
    this.#connection = connection;
    this.#js = jetstream(connection, { checkAPI: false, timeout: TIMEOUT_MS });
    this.#options = options;
    this.#signal = signal;
    this.#onFirst = onFirst;
  }

  async run(): Promise<void> {
    // The library's type leaves out how to end it, and it would live as long as the connection.
    const status = this.#connection.status() as AsyncIterable<{ type: string }> & { stop(): void };
    void this.#followConnection(status);
    while (!this.#signal.aborted) {
      this.#broken = brokenPromise();
      try {
        await Promise.race([this.#online, this.#broken.promise]);
        await this.#consume();
      } catch (error) {
        this.#options.log.debug({ stream: this.#options.stream, error: String(error) }, "reading starts anew");
      }
      await systemClock.sleep(RETRY_MS, this.#signal);
    }
    status.stop();
  }

  /** Ends what is under way; the loop then starts anew or, when stopped, ends. */
  interrupt(): void {
    this.#broken.reject(new Error("interrupted"));
    void this.#messages?.close();
    this.#messages = undefined;
  }

  /**
   * A new connection gets a new consumer: the library tries to repair the old one just once, and when the server is not
   * ready for that, which is usual after its restart, reads nothing more.
   */
  async #followConnection(statuses: AsyncIterable<{ type: string }>): Promise<void> {
    let back: (() => void) | undefined;
    for await (const { type } of statuses) {
      if (type === "disconnect" && !back) {
        const online = Promise.withResolvers<void>();
        this.#online = online.promise;
        back = online.resolve;
        this.interrupt();
      } else if (type === "reconnect") {
        back?.();
        back = undefined;
      }
    }
    back?.();
  }

  async #consume(): Promise<void> {
    const { onMessage, onConsumer } = this.#options;
    const consumer = await this.#unlessBroken(this.#createConsumer());
    const info = await this.#unlessBroken(consumer.info(true));
    if (this.#signal.aborted) return;
    // Without this, a reader of "new" that breaks before its first message would skip what came in between.
    if (this.#options.from === "new" && this.#last === 0) this.#last = info.delivered.stream_seq;
    onConsumer?.(info.num_pending);
    const messages = await consumer.consume({ max_messages: 1_000, expires: 5_000, idle_heartbeat: 1_000 });
    this.#messages = messages;
    if (this.#signal.aborted) return this.interrupt();
    this.#onFirst();
    void this.#stopWhenBroken(messages);
    for await (const message of messages) {
      if (this.#signal.aborted) break;
      if (message.seq <= this.#last) continue;
      await onMessage(message);
      this.#last = message.seq;
    }
  }

  #createConsumer(): Promise<Consumer> {
    const { stream, filter } = this.#options;
    return this.#js.consumers.get(stream, {
      ...this.#start(),
      ...(filter ? { filter_subjects: filter } : {}),
      inactive_threshold: 30_000,
    });
  }

  #unlessBroken<T>(step: Promise<T>): Promise<T> {
    return Promise.race([step, this.#broken.promise]);
  }

  /** The library goes on asking a consumer that a lost server held; a new one is quicker. */
  async #stopWhenBroken(messages: ConsumerMessages): Promise<void> {
    for await (const status of messages.status()) {
      const missing = status.type === "consumer_not_found" || status.type === "stream_not_found";
      if (missing || (status.type === "heartbeats_missed" && status.count >= 3)) void messages.close();
    }
  }

  #start(): { deliver_policy: DeliverPolicy; opt_start_seq?: number; opt_start_time?: string } {
    const { from } = this.#options;
    if (this.#last > 0) return { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: this.#last + 1 };
    if (from === "new") return { deliver_policy: DeliverPolicy.New };
    if (from === "last-per-subject") return { deliver_policy: DeliverPolicy.LastPerSubject };
    if ("seq" in from) return { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: Math.max(1, from.seq) };
    return { deliver_policy: DeliverPolicy.StartTime, opt_start_time: new Date(from.timeMs).toISOString() };
  }
}

function brokenPromise(): PromiseWithResolvers<never> {
  const broken = Promise.withResolvers<never>();
  broken.promise.catch(() => undefined);
  return broken;
}
