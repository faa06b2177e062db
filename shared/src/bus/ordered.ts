// SPDX-License-Identifier: Apache-2.0
/**
 * Reads a stream in order, each message once, over reconnects, leader changes and restarts of servers. The library's ordered
 * consumer recovers from gaps; this loop recovers from everything else by starting a new one after the last sequence seen.
 */
import { DeliverPolicy, type JetStreamClient, type JsMsg } from "@nats-io/jetstream";
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

/** Starts reading; resolves when the first consumer stands or after 5 s, whichever is sooner. Goes on until `stop`. */
export async function readOrdered(js: JetStreamClient, options: OrderedOptions): Promise<Closable> {
  const abort = new AbortController();
  const first = Promise.withResolvers<void>();
  const reader = new OrderedReader(js, options, abort.signal, first.resolve);
  const done = reader.run();
  await Promise.race([first.promise, systemClock.sleep(5_000, abort.signal)]);
  return {
    stop: async () => {
      abort.abort();
      await reader.close();
      await Promise.race([done, systemClock.sleep(1_000)]);
    },
  };
}

class OrderedReader {
  readonly #js: JetStreamClient;
  readonly #options: OrderedOptions;
  readonly #signal: AbortSignal;
  readonly #onFirst: () => void;
  #last = 0;
  #close: (() => Promise<unknown>) | undefined;

  constructor(js: JetStreamClient, options: OrderedOptions, signal: AbortSignal, onFirst: () => void) {
    this.#js = js;
    this.#options = options;
    this.#signal = signal;
    this.#onFirst = onFirst;
  }

  async run(): Promise<void> {
    while (!this.#signal.aborted) {
      try {
        await this.#consume();
      } catch (error) {
        this.#options.log.debug({ stream: this.#options.stream, error: String(error) }, "reading starts anew");
      }
      await systemClock.sleep(RETRY_MS, this.#signal);
    }
  }

  async close(): Promise<void> {
    await this.#close?.().catch(() => undefined);
  }

  async #consume(): Promise<void> {
    const { stream, filter, onMessage, onConsumer } = this.#options;
    const consumer = await this.#js.consumers.get(stream, { ...this.#start(), ...(filter ? { filter_subjects: filter } : {}), inactive_threshold: 30_000 });
    const info = await consumer.info(true);
    if (this.#signal.aborted) return;
    // Without this, a reader of "new" that breaks before its first message would skip what came in between.
    if (this.#options.from === "new" && this.#last === 0) this.#last = info.delivered.stream_seq;
    onConsumer?.(info.num_pending);
    const messages = await consumer.consume({ max_messages: 1_000, expires: 5_000, idle_heartbeat: 1_000 });
    this.#close = () => messages.close();
    if (this.#signal.aborted) return void messages.close();
    this.#onFirst();
    void this.#stopWhenBroken(messages.status(), () => void messages.close());
    for await (const message of messages) {
      if (this.#signal.aborted) break;
      if (message.seq <= this.#last) continue;
      await onMessage(message);
      this.#last = message.seq;
    }
  }

  /** The library goes on asking a consumer that a lost server held; a new one is quicker. */
  async #stopWhenBroken(status: AsyncIterable<{ type: string; count?: number }>, stop: () => void): Promise<void> {
    for await (const { type, count } of status) {
      if (type === "consumer_not_found" || type === "stream_not_found" || (type === "heartbeats_missed" && (count ?? 0) >= 3)) stop();
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
