// SPDX-License-Identifier: Apache-2.0
/** Lists records: the newest first, or with `after` the oldest first, waiting for new ones. */
import { setImmediate as turn } from "node:timers/promises";
import type { auditContract, ListedRecord } from "@debvisor/proto-events/audit";
import type { Input, Output } from "@debvisor/proto-events/kit";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import type { Clock } from "@debvisor/shared/clock";
import { type RecordTest, recordTest, toListed } from "../model/record-filter.ts";
import type { ReadRecorder } from "../reconcilers/read-recorder.ts";
import { parseRecord, type Trail } from "../reconcilers/trail.ts";

type C = typeof auditContract;
type In = Input<C, "listRecords">;
type Out = Output<C, "listRecords">;

/** Records read at a time. */
const PAGE = 500;
/** Longest search of one answer, in milliseconds; then the answer says where to go on. */
const SEARCH_MS = 10_000;
/** Most bytes of an answer's records; a message of the bus holds 1 MiB. */
const MAX_BYTES = 700_000;

export interface ListRecordsDeps {
  readonly trail: Trail;
  readonly reads: ReadRecorder;
  readonly clock: Clock;
}

export function listRecordsHandler(deps: ListRecordsDeps) {
  return async (input: In, context: RequestContext): Promise<Out> => {
    const { trail, reads, clock } = deps;
    const { after, before: _before, seconds, limit: _limit, ...filter } = input;
    const matches = recordTest(filter, clock.now());
    if (after === undefined) {
      await reads.record("list-records", input, context);
      await trail.refresh(1_000);
      return listBack(deps, input, matches);
    }
    await reads.recordFollow("list-records", input, filter, context);
    return listOn(deps, { ...input, after, seconds }, matches, context);
  };
}

/** Collects what matches until the answer is full. */
class Answer {
  readonly items: ListedRecord[] = [];
  readonly #limit: number;
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** False when the answer is full and does not take it. */
  take(line: string, seq: number, matches: RecordTest): boolean {
    const record = parseRecord(line);
    if (!record || !matches(record)) return true;
    if (this.items.length >= this.#limit || (this.#bytes + line.length > MAX_BYTES && this.items.length > 0))
      return false;
    this.#bytes += line.length;
    this.items.push(toListed(record, seq));
    return true;
  }
}

async function listBack({ trail, clock }: ListRecordsDeps, input: In, matches: RecordTest): Promise<Out> {
  const ends = clock.monotonic() + SEARCH_MS;
  const answer = new Answer(input.limit);
  const lastSeq = trail.size;
  let next = Math.min(input.before ?? Number.POSITIVE_INFINITY, lastSeq + 1) - 1;
  while (next >= 1 && clock.monotonic() < ends) {
    const from = Math.max(1, next - PAGE + 1);
    const lines = await trail.lines(from, next);
    for (let at = lines.length - 1; at >= 0; at--) {
      if (!answer.take(lines[at] ?? "", from + at, matches)) {
        return { items: answer.items, lastSeq, nextBefore: from + at + 1 };
      }
    }
    next = from - 1;
    await turn();
  }
  return { items: answer.items, lastSeq, nextBefore: next >= 1 ? next + 1 : null };
}

/** `lastSeq` of the answer is what has been looked through; it is sent as `after` of the next question. */
async function listOn(
  { trail, clock }: ListRecordsDeps,
  { after, seconds, limit }: In & { after: number },
  matches: RecordTest,
  { signal }: RequestContext,
): Promise<Out> {
  const started = clock.monotonic();
  const answer = new Answer(limit);
  let seen = after;
  while (clock.monotonic() - started < SEARCH_MS + seconds * 1_000 && !signal.aborted) {
    const lines = await trail.lines(seen + 1, seen + PAGE);
    for (const line of lines) {
      if (!answer.take(line, seen + 1, matches)) return { items: answer.items, lastSeq: seen, nextBefore: null };
      seen++;
    }
    const left = started + seconds * 1_000 - clock.monotonic();
    if (answer.items.length > 0 && lines.length < PAGE) break;
    if (lines.length === 0 && !(left > 0 && (await trail.grown(seen, left, signal)))) break;
    await turn();
  }
  return { items: answer.items, lastSeq: seen, nextBefore: null };
}
