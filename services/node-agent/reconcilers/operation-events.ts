// SPDX-License-Identifier: Apache-2.0
/**
 * Publishes the operation log as events, in its order and each once: the log is the outbox, a record's random id is the event's
 * id, and the place reached is kept in bucket dv_operations. One instance does it, the holder of lease `operation-events`.
 */
import { operationContract } from "@debvisor/proto-events/operation";
import type { Bus, Closable, JournalEntry } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { causeChain } from "@debvisor/shared/errors";
import { holdLease } from "@debvisor/shared/leases";
import type { Logger } from "@debvisor/shared/log";
import { apply, type Folded, fold } from "@debvisor/shared/operation/fold";
import { foldEntries, parseEntry } from "@debvisor/shared/operation/operation-log";
import { eventsOf, type OperationEvent } from "@debvisor/shared/operation/run-events";
import { z } from "zod";

/** How far the log has been published. */
const Cursor = z.object({ seq: z.number().int().nonnegative() });
const KEY = "events";
const RETRY_MS = 500;
const SAVE_EVERY_MS = 1_000;

export interface OperationEventsDeps {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly log: Logger;
  readonly owner: string;
}

/** Starts the job. */
export function startOperationEvents(deps: OperationEventsDeps): Closable {
  const stopping = new AbortController();
  let run: Promise<void> = Promise.resolve();
  const lease = holdLease(deps.bus, "operation-events", deps.owner, {
    ttlSeconds: 6,
    log: deps.log,
    clock: deps.clock,
    onHeld: (lost) => {
      const signal = AbortSignal.any([lost, stopping.signal]);
      run = run.then(() => publishUntil(deps, signal));
    },
    onLost: () => undefined,
  });
  return {
    stop: async () => {
      stopping.abort();
      await Promise.all([lease.stop(), Promise.race([run, deps.clock.sleep(1_000)])]);
    },
  };
}

async function publishUntil(deps: OperationEventsDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await new Publisher(deps, signal).run();
    } catch (error) {
      if (signal.aborted) return;
      deps.log.warn({ cause: causeChain(error) }, "events of operations: begun anew");
      await deps.clock.sleep(RETRY_MS, signal);
    }
  }
}

/** One pass from the cursor on, until the lease is lost or something fails. */
class Publisher {
  readonly #deps: OperationEventsDeps;
  readonly #signal: AbortSignal;
  readonly #folded = new Map<string, Folded>();
  readonly #queue: JournalEntry[] = [];
  #wake = Promise.withResolvers<void>();
  #saved = { seq: 0, revision: 0 };
  #savedAt = 0;

  constructor(deps: OperationEventsDeps, signal: AbortSignal) {
    this.#deps = deps;
    this.#signal = signal;
  }

  async run(): Promise<void> {
    const { bus } = this.#deps;
    const bucket = await bus.bucket("dv_operations", Cursor);
    const entry = await bucket.get(KEY);
    this.#saved = { seq: entry?.value.seq ?? 0, revision: entry?.revision ?? 0 };
    const onAbort = () => this.#wake.resolve();
    this.#signal.addEventListener("abort", onAbort, { once: true });
    const reader = await bus.journal("DV_OPS").follow({
      fromSeq: this.#saved.seq + 1,
      // The reader waits while this many lie here, so that a long log does not come into memory at once.
      onEntry: async (record) => {
        this.#queue.push(record);
        this.#wake.resolve();
        while (this.#queue.length > 500 && !this.#signal.aborted) await this.#deps.clock.sleep(20, this.#signal);
      },
    });
    try {
      await this.#drain(bucket);
    } finally {
      this.#signal.removeEventListener("abort", onAbort);
      await reader.stop();
    }
  }

  async #drain(bucket: Awaited<ReturnType<Bus["bucket"]>>): Promise<void> {
    let last = this.#saved.seq;
    while (!this.#signal.aborted) {
      const record = this.#queue.shift();
      if (record) {
        await this.#publish(record);
        last = record.seq;
      } else {
        this.#wake = Promise.withResolvers();
        const pause = this.#deps.clock.sleep(SAVE_EVERY_MS, this.#signal);
        if (this.#queue.length === 0) await Promise.race([this.#wake.promise, pause]);
      }
      const due = this.#deps.clock.monotonic() - this.#savedAt >= SAVE_EVERY_MS;
      if (last > this.#saved.seq && due) await this.#save(bucket, last);
    }
  }

  async #save(bucket: Awaited<ReturnType<Bus["bucket"]>>, seq: number): Promise<void> {
    const { revision } = this.#saved;
    const next = revision === 0 ? await bucket.create(KEY, { seq }) : await bucket.update(KEY, { seq }, revision);
    this.#saved = { seq, revision: next };
    this.#savedAt = this.#deps.clock.monotonic();
  }

  async #publish(entry: JournalEntry): Promise<void> {
    const placed = parseEntry(entry);
    if (!placed) return;
    const folded = await this.#fold(entry);
    if (!folded) return;
    for (const event of eventsOf(folded, placed.record)) await this.#send(event, folded);
    if (folded.closed) this.#folded.delete(entry.key);
  }

  async #send({ name, payload, id }: OperationEvent, { created }: Folded): Promise<void> {
    await this.#deps.bus.publishEvent(operationContract, name, payload as never, {
      subject: created.operation,
      id,
      actor: created.actor,
      ...(created.requestId ? { requestId: created.requestId } : {}),
      patienceMs: 60_000,
    });
  }

  /** The operation as it was after this record. */
  async #fold(entry: JournalEntry): Promise<Folded | undefined> {
    const placed = parseEntry(entry);
    if (!placed) return undefined;
    const known = this.#folded.get(entry.key);
    if (known) {
      apply(known, placed);
      return known;
    }
    const entries = placed.record.t === "created" ? [] : await this.#deps.bus.journal("DV_OPS").read(entry.key);
    const folded =
      placed.record.t === "created" ? fold([placed]) : foldEntries(entries.filter(({ seq }) => seq <= entry.seq));
    if (folded) this.#folded.set(entry.key, folded);
    return folded;
  }
}
