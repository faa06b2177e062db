// SPDX-License-Identifier: Apache-2.0
/** The order in which a lock is granted: by priority, then by the time of asking. Pure. */
import type { LockWaiter } from "@debvisor/proto-events/operation";
import type { WaiterRecord } from "./lock-records.ts";

/** Somebody in a queue. `revision` is that of its entry, which is written once: the bucket's own order of asking. */
export interface Waiter {
  readonly key: string;
  readonly revision: number;
  readonly record: WaiterRecord;
  /** As lists show it; made once, because a queue is shown far more often than it changes. */
  readonly shown: LockWaiter;
}

/** Makes a waiter of its entry. */
export function waiterOf(key: string, revision: number, record: WaiterRecord): Waiter {
  const { operation, actor, priority, since } = record;
  return { key, revision, record, shown: { operation, actor, priority, since } };
}

/** Negative when `a` is granted before `b`. */
export function compareWaiters(a: Waiter, b: Waiter): number {
  return b.record.priority - a.record.priority || a.revision - b.revision;
}

/** Puts a waiter into a sorted queue. */
export function enqueue(queue: Waiter[], waiter: Waiter): void {
  let low = 0;
  let high = queue.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const other = queue[middle];
    if (other && compareWaiters(other, waiter) < 0) low = middle + 1;
    else high = middle;
  }
  queue.splice(low, 0, waiter);
}

/** Takes an operation out of a queue; undefined when it is not in it. */
export function dequeue(queue: Waiter[], operation: string): Waiter | undefined {
  const index = queue.findIndex(({ record }) => record.operation === operation);
  return index < 0 ? undefined : queue.splice(index, 1)[0];
}
