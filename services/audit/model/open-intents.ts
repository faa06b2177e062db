// SPDX-License-Identifier: Apache-2.0
/** Which intents have no outcome yet. */
import type { AuditRecord } from "@debvisor/proto-events/audit";

/** An intent that waits for its outcome. `seenAt`: monotonic milliseconds at which this instance read it. */
export interface OpenIntent {
  readonly record: AuditRecord;
  readonly seq: number;
  readonly seenAt: number;
}

/**
 * Intents by what they share with their outcome. An operation that is rolled back later has a second intent under the same
 * reference; only the last one can be open. The age counts from when it was read, so that no clock of another machine matters.
 */
export class OpenIntents {
  readonly #open = new Map<string, OpenIntent>();

  /** Takes the next record in the order of the trail. */
  take(record: AuditRecord, seq: number, now: number): void {
    if (record.kind === "intent") this.#open.set(record.ref, { record, seq, seenAt: now });
    else if (record.kind === "outcome") this.#open.delete(record.ref);
  }

  get size(): number {
    return this.#open.size;
  }

  /** Whether this intent is still open. */
  has({ record, seq }: OpenIntent): boolean {
    return this.#open.get(record.ref)?.seq === seq;
  }

  /** Those that have been open for at least that long, oldest first. */
  olderThan(ms: number, now: number): OpenIntent[] {
    return [...this.#open.values()].filter(({ seenAt }) => now - seenAt >= ms).sort((a, b) => a.seq - b.seq);
  }
}
