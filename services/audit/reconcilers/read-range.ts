// SPDX-License-Identifier: Apache-2.0
/** Reads a stretch of a stream that is known to exist. */
import type { Journal, JournalEntry } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";

const PATIENCE_MS = 8_000;

/** Records `from` to `to`, both included, oldest first. @throws UNAVAILABLE when they do not come in time */
export async function readRange(journal: Journal, from: number, to: number, clock: Clock): Promise<JournalEntry[]> {
  const entries: JournalEntry[] = [];
  if (from > to) return entries;
  const complete = Promise.withResolvers<boolean>();
  const reader = await journal.follow({
    fromSeq: from,
    onEntry: (entry) => {
      if (entry.seq <= to) entries.push(entry);
      if (entry.seq >= to) complete.resolve(true);
    },
  });
  const giveUp = new AbortController();
  try {
    const late = clock.sleep(PATIENCE_MS, giveUp.signal).then(() => false);
    if (!(await Promise.race([complete.promise, late])))
      throw new DvError("UNAVAILABLE", `The stream did not give its records ${from} to ${to} in time.`);
  } finally {
    giveUp.abort();
    await reader.stop();
  }
  return entries;
}
