// SPDX-License-Identifier: Apache-2.0
/**
 * The gateway's own events. They are published beside the answers, one after the other so that their order is kept, from a
 * bounded queue. What does not fit any more is counted and logged: a gateway that lost its bus must not lose its memory too.
 */
import { gatewayContract } from "@debvisor/proto-events/gateway";
import type { Payload } from "@debvisor/proto-events/kit";
import type { Bus } from "@debvisor/shared/bus/bus";
import { systemClock } from "@debvisor/shared/clock";
import type { Logger } from "@debvisor/shared/log";

type EventName = keyof (typeof gatewayContract)["events"];

/** What goes along with an event. */
export interface EventContext {
  /** What the event is about. */
  readonly subject: string;
  readonly actor?: string;
  readonly requestId?: string;
}

interface Pending {
  readonly name: EventName;
  readonly payload: unknown;
  readonly context: EventContext;
}

const MAX_QUEUED = 10_000;
const PATIENCE_MS = 30_000;
const ATTEMPTS = 3;

export class Outbox {
  readonly #bus: Bus;
  readonly #log: Logger;
  readonly #queue: Pending[] = [];
  #running: Promise<void> | undefined;
  #stopping = false;
  /** Events that were lost because the queue was full or the bus did not take them. */
  lost = 0;

  constructor(bus: Bus, log: Logger) {
    this.#bus = bus;
    this.#log = log;
  }

  get queued(): number {
    return this.#queue.length;
  }

  /** Hands an event over; returns at once. */
  publish<N extends EventName>(name: N, payload: Payload<typeof gatewayContract, N>, context: EventContext): void {
    if (this.#queue.length >= MAX_QUEUED) this.#lose({ name, payload, context }, "the queue is full");
    else this.#queue.push({ name, payload, context });
    this.#running ??= this.#run();
  }

  /** Publishes what is left, for at most `ms`. */
  async flush(ms: number): Promise<void> {
    this.#stopping = true;
    await Promise.race([this.#running, systemClock.sleep(ms)]);
  }

  async #run(): Promise<void> {
    for (let next = this.#queue.shift(); next; next = this.#queue.shift()) await this.#send(next);
    this.#running = undefined;
  }

  async #send({ name, payload, context }: Pending): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#bus.publishEvent(gatewayContract, name, payload as never, {
          ...context,
          patienceMs: this.#stopping ? 1_000 : PATIENCE_MS,
        });
        return;
      } catch (error) {
        if (attempt < ATTEMPTS && !this.#stopping) continue;
        this.#lose({ name, payload, context }, String(error));
        return;
      }
    }
  }

  #lose({ name, payload, context }: Pending, cause: string): void {
    this.lost++;
    this.#log.error({ event: name, payload, ...context, cause }, "an event could not be published");
  }
}
