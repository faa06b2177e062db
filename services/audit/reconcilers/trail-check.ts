// SPDX-License-Identifier: Apache-2.0
/**
 * Compares the stored trail with what this server knows of it, again and again: its length, its end, and one older record after
 * the other. A stream that was deleted and made anew, or that lost a record, is noticed although nothing new is read from it.
 */
import { leafHash } from "@debvisor/shared/audit/merkle";
import type { Closable } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import type { Logger } from "@debvisor/shared/log";
import type { Alarms } from "./alarms.ts";
import type { Seals } from "./seals.ts";
import type { Trail } from "./trail.ts";

export interface TrailCheckDeps {
  readonly trail: Trail;
  readonly seals: Seals;
  readonly alarms: Alarms;
  readonly clock: Clock;
  readonly log: Logger;
  readonly everyMs: number;
}

/**
 * How long a stream has to be shorter than it was before that is believed: a server that has just become its leader may not have
 * applied all that it holds.
 */
const CONFIRM_MS = 3_000;
const RETRY_MS = 500;

/** Starts comparing. */
export function startTrailCheck(deps: TrailCheckDeps): Closable {
  const { clock, log, everyMs } = deps;
  const stopping = new AbortController();
  const round = new Round(deps);
  const run = (async () => {
    while (!stopping.signal.aborted) {
      try {
        await round.check();
      } catch (error) {
        const { code, message } = toDvError(error);
        log.warn({ code, error: message }, "audit: the trail could not be compared with its stream");
      }
      await clock.sleep(round.isSuspicious ? Math.min(everyMs, RETRY_MS) : everyMs, stopping.signal);
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await Promise.race([run, clock.sleep(500)]);
    },
  };
}

class Round {
  readonly #deps: TrailCheckDeps;
  /** The older record that is looked at next. */
  #next = 1;
  /** Monotonic time since which records have been missing. */
  #missingSince: number | undefined;

  constructor(deps: TrailCheckDeps) {
    this.#deps = deps;
  }

  get isSuspicious(): boolean {
    return this.#missingSince !== undefined;
  }

  /** One comparison. @throws BUS_UNAVAILABLE */
  async check(): Promise<void> {
    const { trail, seals, alarms } = this.#deps;
    const known = trail.size;
    const { firstSeq, lastSeq } = await trail.journal.range();
    if (firstSeq > 1) {
      const detail = `the stream begins with record ${firstSeq}`;
      alarms.raise({ key: `gap ${firstSeq}`, cause: "gap", seq: 1, detail });
    }
    const sealedSize = seals.latest?.sealed.checkpoint.size ?? 0;
    if (this.#isMissing(lastSeq < Math.max(known, sealedSize, trail.sizeBefore))) {
      if (lastSeq < known) this.#raise(null, `the stream has ${lastSeq} records; this server has read ${known}`);
      trail.compareLengthWithBefore(lastSeq);
      seals.compareWaiting(lastSeq);
    } else if (!this.isSuspicious) {
      seals.compareWaiting();
      if (known > 0 && !alarms.stopCause) await this.#compareContent(known);
    }
    trail.save();
  }

  /** The end, and one older record after the other. */
  async #compareContent(known: number): Promise<void> {
    const { trail } = this.#deps;
    if (this.#next > known) this.#next = 1;
    for (const seq of [known, this.#next++]) {
      const entry = await trail.journal.at(seq);
      if (entry ? leafHash(entry.text) === trail.tree.leaf(seq - 1) : !(await this.#isGone(seq))) continue;
      this.#raise(seq, `record ${seq} is ${entry ? "another one" : "not there any more"}`);
    }
  }

  /** Asks again, for the reason given at CONFIRM_MS. */
  async #isGone(seq: number): Promise<boolean> {
    await this.#deps.clock.sleep(CONFIRM_MS);
    return (await this.#deps.trail.journal.at(seq)) === undefined;
  }

  /** True once something has been missing for long enough to be believed. */
  #isMissing(isMissing: boolean): boolean {
    const now = this.#deps.clock.monotonic();
    this.#missingSince = isMissing ? (this.#missingSince ?? now) : undefined;
    return this.#missingSince !== undefined && now - this.#missingSince >= CONFIRM_MS;
  }

  #raise(seq: number | null, detail: string): void {
    const { alarms, seals } = this.#deps;
    const expected = seals.latest?.sealed.checkpoint;
    const key = `rollback ${expected?.size ?? 0} ${expected?.root ?? ""} ${seq ?? ""}`;
    alarms.raise({ key, cause: "rollback", seq, detail });
  }
}
