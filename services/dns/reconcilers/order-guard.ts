// SPDX-License-Identifier: Apache-2.0
/**
 * Lets an order change a zone only while it is the last one of its step (bucket `dv_dnsorders`). The mark is read back directly
 * before the update goes out; a pause in between that is long enough for somebody to take over is noticed and the mark read again.
 */
import type { Bucket, Bus, Order } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { DvError, toDvError } from "@debvisor/shared/errors";
import { judgeOrder, OrderMark } from "../model/orders.ts";

/** Longest time in milliseconds between reading the mark and trusting it. */
const FRESH_MS = 100;
const MAX_TRIES = 16;

/** Lets orders pass, on one connection. */
export class OrderGuard {
  readonly #bus: Pick<Bus, "bucket">;
  #opened: Promise<Bucket<OrderMark>> | undefined;

  constructor(bus: Pick<Bus, "bucket">) {
    this.#bus = bus;
  }

  /** Returns when the order may be carried out at once. @throws COMMAND_FENCED when it is over, BUS_UNAVAILABLE */
  async pass(order: Order, clock: Clock): Promise<void> {
    const { operation, step, direction, epoch } = order;
    const mark = OrderMark.parse({ operation, step, direction, epoch });
    const bucket = await this.#bucket();
    const key = `${operation}.${step}`;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const readAt = clock.monotonic();
      const last = await bucket.get(key);
      const judgement = judgeOrder(last?.value, mark);
      if (judgement === "fenced")
        throw new DvError("COMMAND_FENCED", `${operation} has gone on without this order (step ${step}).`);
      if (judgement === "held" && clock.monotonic() - readAt <= FRESH_MS) return;
      if (judgement === "claim")
        await (last ? bucket.update(key, mark, last.revision) : bucket.create(key, mark)).catch((error: unknown) => {
          // Somebody else wrote meanwhile; the next look says who.
          if (toDvError(error).code !== "CONFLICT") throw error;
        });
    }
    throw new DvError("BUS_UNAVAILABLE", "The bus is too slow to say whether an order is still the last one.");
  }

  /** Opened once; an attempt that failed is made again. */
  #bucket(): Promise<Bucket<OrderMark>> {
    this.#opened ??= this.#bus.bucket("dv_dnsorders", OrderMark).catch((error: unknown) => {
      this.#opened = undefined;
      throw error;
    });
    return this.#opened;
  }
}
