// SPDX-License-Identifier: Apache-2.0
/**
 * A step that waits, counted in bucket `dv_dnsorders`: how long it has waited so far, by the monotonic clocks of its owners. Whoever
 * adopts it goes on from there. No wall clock is read, so a step of a clock makes it neither longer nor shorter; an owner that died
 * loses what it had not noted yet, a twentieth at most.
 */
import type { Bucket, BucketEntry, Bus, Order } from "@debvisor/shared/bus/bus";
import { DvError, toDvError } from "@debvisor/shared/errors";
import type { StepContext } from "@debvisor/shared/operation/definition";
import { z } from "zod";
import { judgeOrder, OrderMark } from "../model/orders.ts";

const WaitMark = OrderMark.extend({ waitedMs: z.number().nonnegative() });
type WaitMark = z.output<typeof WaitMark>;
type Entry = BucketEntry<WaitMark>;

/** Shortest time between two notes in milliseconds. */
const NOTE_MS = 250;
const NOTES = 20;
const MAX_TRIES = 16;

/** Counts waits, on one connection. */
export class WaitCount {
  readonly #bus: Pick<Bus, "bucket">;
  #opened: Promise<Bucket<WaitMark>> | undefined;

  constructor(bus: Pick<Bus, "bucket">) {
    this.#bus = bus;
  }

  /** Returns once `ms` have been waited in all. @throws COMMAND_FENCED when the order is over, BUS_UNAVAILABLE */
  async waitOut(ms: number, { order, clock, signal }: Pick<StepContext, "order" | "clock" | "signal">): Promise<void> {
    let entry = await this.#claim(order, 0);
    const credit = entry.value.waitedMs;
    const startedAt = clock.monotonic();
    while (entry.value.waitedMs < ms) {
      const left = ms - credit - (clock.monotonic() - startedAt);
      await clock.sleep(Math.max(0, Math.min(left, Math.max(NOTE_MS, ms / NOTES))), signal);
      signal.throwIfAborted();
      entry = await this.#claim(order, Math.min(ms, credit + clock.monotonic() - startedAt));
    }
  }

  /** Notes that the wait was undone; an order of it that comes late waits for nothing. @throws COMMAND_FENCED, BUS_UNAVAILABLE */
  async forget(order: Order): Promise<void> {
    await this.#claim(order, 0);
  }

  /** Whether `ms` have been waited for a step, and not undone since. @throws BUS_UNAVAILABLE */
  async isOver(order: Order, ms: number): Promise<boolean> {
    const mark = (await (await this.#bucket()).get(keyOf(order)))?.value;
    return mark?.direction === "do" && mark.waitedMs >= ms;
  }

  /** Makes the order the last one of its step and notes what was waited, never less than is noted already. */
  async #claim(order: Order, waitedMs: number): Promise<Entry> {
    const { operation, step, direction, epoch } = order;
    const mark = OrderMark.parse({ operation, step, direction, epoch });
    const bucket = await this.#bucket();
    const key = keyOf(order);
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const last = await bucket.get(key);
      const value = noted(last?.value, mark, waitedMs);
      if (last && value === last.value) return last;
      try {
        const revision = await (last ? bucket.update(key, value, last.revision) : bucket.create(key, value));
        return { key, value, revision };
      } catch (error) {
        // Somebody else wrote meanwhile; the next look says who.
        if (toDvError(error).code !== "CONFLICT") throw error;
      }
    }
    throw new DvError("BUS_UNAVAILABLE", "The bus is too slow to note how long a step has waited.");
  }

  /** Opened once; an attempt that failed is made again. */
  #bucket(): Promise<Bucket<WaitMark>> {
    this.#opened ??= this.#bus.bucket("dv_dnsorders", WaitMark).catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }
}

/** What shall be noted; the same object where it is noted already. @throws COMMAND_FENCED when the order is over */
function noted(last: WaitMark | undefined, mark: OrderMark, waitedMs: number): WaitMark {
  const judgement = judgeOrder(last, mark);
  if (judgement === "fenced")
    throw new DvError("COMMAND_FENCED", `${mark.operation} has gone on without this order (step ${mark.step}).`);
  const known = mark.direction === "do" ? (last?.waitedMs ?? 0) : 0;
  return last && judgement === "held" && known >= waitedMs ? last : { ...mark, waitedMs: Math.max(known, waitedMs) };
}

function keyOf({ operation, step }: Order): string {
  return `${operation}.${step}`;
}
