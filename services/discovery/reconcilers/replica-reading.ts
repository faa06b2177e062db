// SPDX-License-Identifier: Apache-2.0
/**
 * Reads every replica of a stream side by side and compares (RULES.md 18). Counters do not show a flipped bit; reading does,
 * because the server checks each message's checksum when it takes it from the disk. Reading touches neither leader nor writers.
 */
import type { Clock } from "@debvisor/shared/clock";
import { compareReadings, type Digests, differs } from "../model/replica-compare.ts";
import type { ReplicaControl } from "./replica-control.ts";

/** What is read, and how fast. */
export interface ReadingPlan {
  readonly stream: string;
  readonly servers: readonly string[];
  /** First and last sequence. All replicas have to be there already. */
  readonly from: number;
  readonly to: number;
  /** Whether a message with every sequence has to be there. */
  readonly appendOnly: boolean;
  /** How long to wait before what differs is read again, in milliseconds: longer than servers' clocks are apart, where keys expire. */
  readonly confirmMs: number;
  /** Most messages and bytes a second, all replicas together. */
  readonly messagesPerSecond: number;
  readonly bytesPerSecond: number;
}

/** What was found. */
export interface ReadingResult {
  readonly messages: number;
  readonly damaged: readonly { readonly server: string; readonly count: number; readonly first: number }[];
  readonly unclear: number;
}

interface Deps {
  readonly control: ReplicaControl;
  readonly clock: Clock;
}

/** Sequences that are compared at a time. */
const WINDOW = 500;
/** Messages that differ and are looked at again; more of them change nothing about the finding. */
const MOST_SUSPECTS = 2_000;

/** Reads. Resolves with undefined when it is aborted. @throws BUS_UNAVAILABLE when a server goes away meanwhile */
export async function readReplicas(
  deps: Deps,
  plan: ReadingPlan,
  signal: AbortSignal,
): Promise<ReadingResult | undefined> {
  const suspects = new Map<number, Digests>();
  let messages = 0;
  const wholly = await sweep(deps, plan, signal, (seq, digests) => {
    if (digests.some((digest) => digest !== undefined)) messages += 1;
    if (differs(digests, plan.appendOnly) && suspects.size < MOST_SUSPECTS) suspects.set(seq, digests);
  });
  if (!wholly) return undefined;
  if (suspects.size === 0) return { messages, damaged: [], unclear: 0 };
  await deps.clock.sleep(plan.confirmMs, signal);
  const found = new Map<string, { count: number; first: number }>();
  let unclear = 0;
  for (const [from, to] of rangesOf([...suspects.keys()])) {
    const again = new Map<number, Digests>();
    if (!(await sweep(deps, { ...plan, from, to }, signal, (seq, digests) => void again.set(seq, digests))))
      return undefined;
    for (const [seq, first] of [...suspects].filter(([one]) => one >= from && one <= to)) {
      const second = again.get(seq) ?? plan.servers.map(() => undefined);
      const compared = compareReadings(first, second, plan.appendOnly);
      if (compared.unclear) unclear += 1;
      for (const server of compared.damaged.flatMap((place) => plan.servers[place] ?? [])) {
        const { count, first: least } = found.get(server) ?? { count: 0, first: seq };
        found.set(server, { count: count + 1, first: Math.min(least, seq) });
      }
    }
  }
  return { messages, damaged: [...found].map(([server, what]) => ({ server, ...what })), unclear };
}

/** Sequences in ranges that are at most a window long. */
function rangesOf(sequences: readonly number[]): [number, number][] {
  const ranges: [number, number][] = [];
  for (const seq of [...sequences].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last && seq - last[0] < WINDOW) last[1] = seq;
    else ranges.push([seq, seq]);
  }
  return ranges;
}

/** Calls back for every sequence that a replica has, and for every one at all of an append-only stream. False when aborted. */
async function sweep(
  { control, clock }: Deps,
  plan: ReadingPlan,
  signal: AbortSignal,
  onMessage: (seq: number, digests: Digests) => void,
): Promise<boolean> {
  const { readers, close } = await control.openReaders(plan.stream, plan.servers, plan.from, plan.to);
  try {
    for (let next = plan.from; next <= plan.to; ) {
      if (signal.aborted) return false;
      const startedAt = clock.monotonic();
      const heads = await Promise.all(readers.map((reader) => reader.peek()));
      const least = Math.min(...heads.map((head) => head?.seq ?? plan.to + 1));
      const start = plan.appendOnly ? next : least;
      if (start > plan.to) return true;
      const end = Math.min(start + WINDOW - 1, plan.to);
      const window = new Map<number, (string | undefined)[]>();
      const row = (seq: number) =>
        window.get(seq) ??
        window
          .set(
            seq,
            readers.map(() => undefined),
          )
          .get(seq) ??
        [];
      if (plan.appendOnly) for (let seq = start; seq <= end; seq++) row(seq);
      let count = 0;
      let bytes = 0;
      await Promise.all(
        readers.map(async (reader, place) => {
          for (let head = await reader.peek(); head && head.seq <= end; head = await reader.peek()) {
            row(head.seq)[place] = head.digest;
            count += 1;
            bytes += head.bytes;
            reader.skip();
          }
        }),
      );
      for (const [seq, digests] of window) onMessage(seq, digests);
      next = end + 1;
      const dueMs = 1_000 * Math.max(count / plan.messagesPerSecond, bytes / plan.bytesPerSecond);
      await clock.sleep(Math.max(0, dueMs - (clock.monotonic() - startedAt)), signal);
    }
    return true;
  } finally {
    await close();
  }
}
