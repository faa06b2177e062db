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

/** Starts comparing. */
export function startTrailCheck(deps: TrailCheckDeps): Closable {
  const { clock, log, everyMs } = deps;
  const stopping = new AbortController();
  const scrub = { next: 1 };
  const run = (async () => {
    while (!stopping.signal.aborted) {
      try {
        await check(deps, scrub);
      } catch (error) {
        const { code, message } = toDvError(error);
        log.warn({ code, error: message }, "audit: the trail could not be compared with its stream");
      }
      await clock.sleep(everyMs, stopping.signal);
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await Promise.race([run, clock.sleep(500)]);
    },
  };
}

/** One comparison. `scrub.next` is the older record that is looked at next. @throws BUS_UNAVAILABLE */
export async function check(deps: Pick<TrailCheckDeps, "trail" | "seals" | "alarms">, scrub: { next: number }) {
  const { trail, seals, alarms } = deps;
  const known = trail.size;
  const { firstSeq, lastSeq } = await trail.journal.range();
  const expected = seals.latest?.sealed.checkpoint;
  const key = `rollback ${expected?.size ?? 0} ${expected?.root ?? ""}`;
  if (firstSeq > 1)
    alarms.raise({ key: `gap ${firstSeq}`, cause: "gap", seq: 1, detail: `the stream begins with record ${firstSeq}` });
  if (lastSeq < known) {
    const detail = `the stream has ${lastSeq} records; this server has read ${known}`;
    alarms.raise({ key, cause: "rollback", seq: null, detail });
  }
  trail.compareLengthWithBefore(lastSeq);
  if (trail.caughtUp) seals.compareWaiting(lastSeq);
  if (known === 0 || alarms.stopCause) return;
  if (scrub.next > known) scrub.next = 1;
  for (const seq of [known, scrub.next++]) {
    const entry = await trail.journal.at(seq);
    if (entry && leafHash(entry.text) === trail.tree.leaf(seq - 1)) continue;
    const detail = `record ${seq} is ${entry ? "another one" : "not there any more"}`;
    alarms.raise({ key: `${key} ${seq}`, cause: "rollback", seq, detail });
  }
  trail.save();
}
