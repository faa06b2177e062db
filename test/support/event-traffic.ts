// SPDX-License-Identifier: Apache-2.0
/** A publisher that never stops and a reader that keeps what it gets; together they show whether an event is lost or doubled. */
import { nodeAgentContract } from "@debvisor/proto-events/node-agent";
import type { Bus } from "@debvisor/shared/bus/bus";

/** Publishes one event after the other, about every `pauseMs`, until stopped. */
export class EventPublisher {
  /** Ids of the acknowledged events in the order of publishing. */
  readonly acknowledged: string[] = [];
  /** Longest time that one event took until its acknowledgement, in milliseconds. */
  longestMs = 0;
  readonly #bus: Bus;
  readonly #node: string;
  readonly #pauseMs: number;
  readonly #run: Promise<void>;
  #stopped = false;

  constructor(bus: Bus, node: string, pauseMs = 5) {
    this.#bus = bus;
    this.#node = node;
    this.#pauseMs = pauseMs;
    this.#run = this.#publish();
    // Whoever stops the publisher gets the error; until then it must not end the process.
    this.#run.catch(() => undefined);
  }

  /** Resolves after `count` more acknowledgements. @throws what publishing threw */
  async more(count: number): Promise<void> {
    const wanted = this.acknowledged.length + count;
    while (this.acknowledged.length < wanted && !this.#stopped) {
      await Promise.race([this.#run, new Promise((resolve) => setTimeout(resolve, 5))]);
    }
  }

  /** Stops after the event under way is acknowledged. @throws what publishing threw */
  async stop(): Promise<string[]> {
    this.#stopped = true;
    await this.#run;
    return this.acknowledged;
  }

  async #publish(): Promise<void> {
    const payload = { node: this.#node, name: "node", version: "1", bootId: "b" };
    for (let pid = 1; !this.#stopped; pid++) {
      const startedAt = performance.now();
      const options = { subject: this.#node, patienceMs: 60_000 };
      const { envelope } = await this.#bus.publishEvent(
        nodeAgentContract,
        "agent.started",
        { ...payload, pid },
        options,
      );
      this.longestMs = Math.max(this.longestMs, performance.now() - startedAt);
      this.acknowledged.push(envelope.id);
      await new Promise((resolve) => setTimeout(resolve, this.#pauseMs));
    }
  }
}

/** Ids of all events from `fromSeq` on, in the order in which they came; grows while the reader runs. */
export async function collectIds(bus: Bus, fromSeq?: number) {
  const ids: string[] = [];
  const reader = await bus.readEvents({
    ...(fromSeq === undefined ? {} : { fromSeq }),
    onEvent: ({ json }) => void ids.push((JSON.parse(json) as { id: string }).id),
  });
  return { ids, stop: () => reader.stop() };
}
