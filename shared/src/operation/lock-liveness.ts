// SPDX-License-Identifier: Apache-2.0
/**
 * Finds operations that hold or wait for locks although they have ended or never began. One look is not enough: a lock may be
 * taken moments before the operation's first record can be seen.
 */
import type { Clock } from "../clock.ts";
import { DvError, toDvError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { LockPicture } from "./lock-picture.ts";

/** Time between the two looks, in milliseconds. */
const BETWEEN_LOOKS_MS = 10_000;
/** Looks per sweep, at holders and at waiters each, so that a long queue does not keep the bus busy. */
const LOOKS_PER_SWEEP = 64;
const LOOK_TIMEOUT_MS = 3_000;

/** Remembers which operations looked dead. */
export class Liveness {
  readonly #picture: LockPicture;
  readonly #isLive: (operation: string) => Promise<boolean>;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** When an operation first looked dead, and the last thing that it had asked for then. */
  readonly #suspects = new Map<string, { readonly at: number; readonly asked: number }>();
  #turn = 0;

  constructor(
    picture: LockPicture,
    isLive: (operation: string) => Promise<boolean>,
    { clock, log }: { readonly clock: Clock; readonly log: Logger },
  ) {
    this.#picture = picture;
    this.#isLive = isLive;
    this.#clock = clock;
    this.#log = log;
  }

  /** One look at those that are due; returns the operations that were dead at both looks. Never throws. */
  async sweep(): Promise<string[]> {
    const { holders, waiters } = this.#picture.operations();
    const present = new Set([...holders, ...waiters]);
    const now = this.#clock.monotonic();
    for (const operation of this.#suspects.keys()) if (!present.has(operation)) this.#suspects.delete(operation);
    const due = [...this.#suspects]
      .filter(([, { at }]) => now - at >= BETWEEN_LOOKS_MS)
      .map(([operation]) => operation);
    const turn = this.#turn++;
    const dead: string[] = [];
    for (const operation of new Set([...due, ...someOf(holders, turn), ...someOf(waiters, turn)])) {
      const live = await this.look(operation);
      // Whoever answers cannot tell now; the others would only wait for that as well.
      if (live === undefined) break;
      if (live) this.#suspects.delete(operation);
      else if (this.#isSecondLook(operation)) dead.push(operation);
    }
    return dead;
  }

  /** Whether an operation is live; undefined when that cannot be told now. */
  async look(operation: string): Promise<boolean | undefined> {
    const done = new AbortController();
    const late = this.#clock.sleep(LOOK_TIMEOUT_MS, done.signal).then(() => {
      throw new DvError("TIMEOUT", `Whether ${operation} is live was not known within ${LOOK_TIMEOUT_MS} ms.`);
    });
    late.catch(() => undefined);
    try {
      return await Promise.race([this.#isLive(operation), late]);
    } catch (error) {
      const { code, message } = toDvError(error);
      this.#log.debug({ operation, code, error: message }, "locks: cannot tell whether an operation is live");
      return undefined;
    } finally {
      done.abort();
    }
  }

  #isSecondLook(operation: string): boolean {
    const now = this.#clock.monotonic();
    const asked = this.#picture.lastAsked(operation);
    const first = this.#suspects.get(operation);
    if (first?.asked === asked) return now - first.at >= BETWEEN_LOOKS_MS;
    this.#suspects.set(operation, { at: now, asked });
    return false;
  }
}

/** Up to 64 of a list, others at each turn, all of them in the course of time. */
function someOf(list: readonly string[], turn: number): readonly string[] {
  if (list.length <= LOOKS_PER_SWEEP) return list;
  const chunks = Math.ceil(list.length / LOOKS_PER_SWEEP);
  const start = (turn % chunks) * LOOKS_PER_SWEEP;
  return list.slice(start, start + LOOKS_PER_SWEEP);
}
