// SPDX-License-Identifier: Apache-2.0
/** Finds where in the stream a subscription begins, and whether something before it is already gone. */
import type { Bus } from "@debvisor/shared/bus/bus";
import type { Subscription } from "../model/event-query.ts";
import { EventEntry } from "./entry.ts";
import { type EventHub, EXPIRED } from "./hub.ts";

/** Where delivery begins. */
export interface Start {
  /** The first event to deliver has a higher sequence. */
  readonly position: number;
  /** Events that were found on the way (a tail), to be delivered first; they reach up to `upTo`. */
  readonly entries: readonly EventEntry[];
  readonly upTo: number;
  readonly gap?: { readonly from: number; readonly to: number; readonly reason: string };
}

interface Deps {
  readonly hub: EventHub;
  readonly bus: Bus;
  readonly subscription: Subscription;
}

/** Most events that a tail with a narrow filter looks through. */
const TAIL_SEARCH = 200_000;
const FIRST_WINDOW = 4_096;
/** Longest wait for a hub that is behind; the last stored messages may be no events, and then it never gets there. */
const BEHIND_MS = 2_000;

/** Finds the start. @throws BUS_UNAVAILABLE */
export async function findStart(deps: Deps, signal: AbortSignal): Promise<Start> {
  const { start } = deps.subscription;
  switch (start.kind) {
    case "now":
      return at(deps.hub.lastSeq);
    case "after":
      return await afterSequence(deps, start.seq, signal);
    case "time":
      return await atTime(deps, start.timeMs, signal);
    case "tail":
      return start.count === 0 ? at(deps.hub.lastSeq) : await tail(deps, start.count, signal);
  }
}

function at(position: number, gap?: Start["gap"]): Start {
  return { position, entries: [], upTo: position, ...(gap ? { gap } : {}) };
}

async function afterSequence({ hub }: Deps, seq: number, signal: AbortSignal): Promise<Start> {
  const first = hub.ring.first?.seq;
  if (seq <= hub.lastSeq && first !== undefined && first <= seq + 1) return at(seq);
  const { firstSeq, lastSeq } = await hub.range(signal);
  if (seq > lastSeq) {
    // The caller saw events that this stream does not have: the stream was made anew, or it is another cluster.
    return at(lastSeq, { from: lastSeq + 1, to: seq, reason: "the stream ends before the sequence asked for" });
  }
  return seq + 1 < firstSeq ? at(firstSeq - 1, { from: seq + 1, to: firstSeq - 1, reason: EXPIRED }) : at(seq);
}

/** A time in the future counts as now. */
async function atTime({ hub, bus }: Deps, timeMs: number, signal: AbortSignal): Promise<Start> {
  const known = inRing(hub, timeMs);
  if (known !== undefined) return at(known - 1);
  // Taken before anything is awaited: what the hub reads meanwhile comes after the start, not before it.
  const { lastSeq: readUpTo } = hub;
  const startsLater = hub.ring.first !== undefined && hub.ring.first.timeMs >= timeMs;
  const { firstSeq, lastSeq } = await hub.range(signal);
  if (firstSeq > lastSeq || (!startsLater && lastSeq <= readUpTo)) return at(readUpTo);
  if (!startsLater) {
    // The hub is behind: what it has yet to read may be older than the time asked for, and may be not.
    await hub.reached(lastSeq, AbortSignal.any([signal, AbortSignal.timeout(BEHIND_MS)]));
    const found = inRing(hub, timeMs);
    if (found !== undefined) return at(found - 1);
    if (hub.ring.first === undefined || hub.ring.first.timeMs < timeMs) return at(hub.lastSeq);
  }
  const found = hub.ring.first?.seq === firstSeq ? firstSeq : await firstAtOrAfter(bus, timeMs, signal);
  if (found === undefined) return at(readUpTo);
  // Whether an expired event lay after the time asked for cannot be told, so it is said that some may have.
  const unsure = found === firstSeq && firstSeq > 1;
  return at(
    found - 1,
    unsure
      ? { from: 1, to: firstSeq - 1, reason: `${EXPIRED}; some may have been after the time asked for` }
      : undefined,
  );
}

/** Sequence of the first event at or after a time, where the ring reaches back beyond that time. */
function inRing({ ring }: EventHub, timeMs: number): number | undefined {
  return ring.first && ring.first.timeMs < timeMs ? ring.atOrAfter(timeMs)?.seq : undefined;
}

async function firstAtOrAfter(bus: Bus, timeMs: number, signal: AbortSignal): Promise<number | undefined> {
  const found = Promise.withResolvers<number | undefined>();
  signal.addEventListener("abort", () => found.resolve(undefined), { once: true });
  const reader = await bus.readEvents({ fromTimeMs: timeMs, onEvent: (event) => found.resolve(event.seq) });
  const seq = await found.promise;
  await reader.stop();
  return seq;
}

/** The last matching events: from the ring where they are, else from windows of the stream that reach further back. */
async function tail(deps: Deps, count: number, signal: AbortSignal): Promise<Start> {
  const { hub, subscription } = deps;
  const upTo = hub.lastSeq;
  let entries: EventEntry[] = [];
  hub.ring.backwards((entry) => {
    if (entry.text !== undefined && subscription.matches(entry)) entries.push(entry);
    return entries.length < count;
  });
  entries.reverse();
  // Before anything is awaited: the ring moves on meanwhile, and what it has dropped then would be read a second time.
  let end = hub.ring.first?.seq ?? upTo + 1;
  const { firstSeq } = await hub.range(signal);
  const floor = Math.max(firstSeq, upTo - TAIL_SEARCH);
  for (let size = FIRST_WINDOW; entries.length < count && end > floor && !signal.aborted; size *= 2) {
    const from = Math.max(floor, end - size);
    entries = [...(await readWindow(deps, from, end, signal)), ...entries].slice(-count);
    end = from;
  }
  return { position: upTo, entries, upTo };
}

async function readWindow(
  { bus, subscription, hub }: Deps,
  from: number,
  end: number,
  signal: AbortSignal,
): Promise<EventEntry[]> {
  const entries: EventEntry[] = [];
  const done = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => done.resolve(), { once: true });
  const reader = await bus.readEvents({
    fromSeq: from,
    onEvent: (event) => {
      if (event.seq < end) {
        const entry = new EventEntry(event);
        if (entry.text !== undefined && subscription.matches(entry)) entries.push(entry);
      }
      if (event.seq >= end - 1 || event.seq >= hub.lastSeq) done.resolve();
    },
  });
  await done.promise;
  await reader.stop();
  return entries;
}
