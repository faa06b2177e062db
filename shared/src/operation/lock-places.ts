// SPDX-License-Identifier: Apache-2.0
/** The callers of this process that wait for locks. They are woken by what the watch shows; none has a timer. */
import type { Lock } from "@debvisor/proto-events/operation";
import type { HeldLock, LockPicture } from "./lock-picture.ts";
import type { Asker } from "./lock-records.ts";

/** A caller that waits for one resource. */
export interface Place {
  readonly resource: string;
  readonly asker: Asker;
  readonly onWait: ((blocker: Lock) => void) | undefined;
  /** Resolves with the fence. */
  readonly granted: Promise<number>;
  /** Its entry in the bucket was written; if it is not there any more, somebody removed it. */
  queued: boolean;
}

interface Caller extends Place {
  readonly resolve: (fence: number) => void;
  readonly reject: (reason: unknown) => void;
  /** Fence of the blocker that it was told of. */
  told: number;
}

interface Line {
  readonly callers: Set<Caller>;
  /** Fence of the holder when all callers were told last. */
  told: number;
}

/** Every waiting caller of this process. */
export class Places {
  readonly #picture: LockPicture;
  readonly #lines = new Map<string, Line>();

  constructor(picture: LockPicture) {
    this.#picture = picture;
  }

  /** Adds a caller; it is told of the blocker at the next `settle`. */
  add(resource: string, asker: Asker, onWait: Place["onWait"]): Place {
    const { promise: granted, resolve, reject } = Promise.withResolvers<number>();
    // A caller that is refused before it listens is refused when it does.
    granted.catch(() => undefined);
    const caller: Caller = { resource, asker, onWait, granted, queued: false, resolve, reject, told: 0 };
    const line = this.#lines.get(resource) ?? { callers: new Set(), told: 0 };
    this.#lines.set(resource, line);
    line.callers.add(caller);
    return caller;
  }

  remove(place: Place): void {
    const line = this.#lines.get(place.resource);
    line?.callers.delete(place as Caller);
    if (line?.callers.size === 0) this.#lines.delete(place.resource);
  }

  /** Ends a wait with an error. */
  refuse(place: Place, reason: unknown): void {
    (place as Caller).reject(reason);
  }

  /** Tells one caller who is in its way, or that nobody is. */
  settle(place: Place): void {
    tell(place as Caller, this.#picture.lock(place.resource), this.#picture);
  }

  /** Tells all callers of a resource when its holder has changed; a longer queue is no news. */
  settleAll(resource: string): void {
    const line = this.#lines.get(resource);
    const lock = this.#picture.lock(resource);
    if (!line || !lock || line.told === lock.revision) return;
    line.told = lock.revision;
    for (const caller of line.callers) tell(caller, lock, this.#picture);
  }

  /** Whether an operation waits for a resource in this process. */
  has(resource: string, operation: string): boolean {
    return this.of(resource, operation).length > 0;
  }

  /** The callers of one operation for a resource. */
  of(resource: string, operation: string): Place[] {
    return [...(this.#lines.get(resource)?.callers ?? [])].filter(({ asker }) => asker.operation === operation);
  }

  all(): Place[] {
    return [...this.#lines.values()].flatMap(({ callers }) => [...callers]);
  }
}

function tell(caller: Caller, lock: HeldLock | undefined, picture: LockPicture): void {
  if (!lock) return;
  if (lock.record.operation === caller.asker.operation) {
    caller.resolve(lock.revision);
    return;
  }
  // Whoever has no entry yet may not have to wait at all.
  if (!caller.queued || caller.told === lock.revision) return;
  caller.told = lock.revision;
  const shown = caller.onWait && picture.show(caller.resource);
  if (shown) caller.onWait?.(shown);
}
