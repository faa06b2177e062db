// SPDX-License-Identifier: Apache-2.0
/**
 * Watches how full the stream of the trail is. It drops nothing: full, it refuses records, and with them every change. So
 * people have to know long before. Each server looks; the event has an id made of the level, so the stream keeps one.
 */
import { createHash } from "node:crypto";
import { auditContract } from "@debvisor/proto-events/audit";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import { levelOf } from "../model/fill-level.ts";

export interface FullnessDeps {
  readonly bus: Pick<Bus, "journal" | "publishEvent">;
  readonly clock: Clock;
  readonly log: Logger;
}

const EVERY_MS = 60_000;

export class Fullness implements Closable {
  readonly #deps: FullnessDeps;
  readonly #stopping = new AbortController();
  #told = 0;
  #run: Promise<void> = Promise.resolve();
  /** What an operator has to know; undefined while there is room. */
  note: string | undefined;

  constructor(deps: FullnessDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#run = this.#watch();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.race([this.#run, this.#deps.clock.sleep(500)]);
  }

  async #watch(): Promise<void> {
    const { clock, log } = this.#deps;
    while (!this.#stopping.signal.aborted) {
      await this.look().catch((error: unknown) =>
        log.debug({ code: toDvError(error).code }, "audit: the size of the trail is not known"),
      );
      await clock.sleep(EVERY_MS, this.#stopping.signal);
    }
  }

  /** Looks once. @throws BUS_UNAVAILABLE */
  async look(): Promise<void> {
    const { bus, log } = this.#deps;
    const { firstSeq, lastSeq, bytes, maxBytes } = await bus.journal("DV_AUDIT").range();
    const { level, percent } = levelOf(bytes, maxBytes);
    this.note = level === 0 ? undefined : `the stream of the trail is ${percent} % full; full, every change is refused`;
    if (level <= this.#told) return;
    log.warn({ percent, bytes, maxBytes }, "audit: the stream of the trail is nearly full");
    const id = createHash("sha256").update(`trail.filled ${firstSeq} ${level}`).digest("hex").slice(0, 32);
    const records = lastSeq - firstSeq + 1;
    await bus.publishEvent(
      auditContract,
      "trail.filled",
      { percent, bytes, maxBytes, records },
      { subject: "trail", id },
    );
    this.#told = level;
  }
}
