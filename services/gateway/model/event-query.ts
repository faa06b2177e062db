// SPDX-License-Identifier: Apache-2.0
/** The query of `GET /v1/events`: which events, from where on. Pure; the time is an argument. */
import { eventQuery } from "@debvisor/proto-events/replies";
import { matchesPattern, parsePattern } from "@debvisor/proto-events/subjects";
import { z } from "zod";

const Flag = z.enum(["0", "1", "false", "true"]).transform((text) => text === "1" || text === "true");

/** The query as it is written. */
export const EventQuery = z.strictObject({
  ...eventQuery,
  telemetry: Flag.default(false).describe("1: relay live telemetry as well; it is droppable and has no sequence."),
});

/** Where a subscription starts: at once, after a sequence, at a time, or with the last few. */
export type StartPoint =
  | { readonly kind: "now" }
  | { readonly kind: "after"; readonly seq: number }
  | { readonly kind: "time"; readonly timeMs: number }
  | { readonly kind: "tail"; readonly count: number };

/** What of an event decides whether a subscriber gets it. */
export interface EventKey {
  readonly type: string;
  readonly origin: string;
}

/** A checked query. */
export interface Subscription {
  readonly start: StartPoint;
  /** Subscriptions with equal keys see the same events. */
  readonly key: string;
  readonly matches: (event: EventKey) => boolean;
  readonly telemetry: boolean;
}

/** A query that cannot be used; names the field. */
export class QueryFault extends Error {
  override readonly name = "QueryFault";
  readonly field: string;

  constructor(field: string, message: string) {
    super(message);
    this.field = field;
  }
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const RFC3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/;

/** Reads `since`. @throws QueryFault */
export function parseSince(text: string, nowMs: number): StartPoint {
  if (/^\d{1,15}$/.test(text)) return { kind: "after", seq: Number(text) };
  const [, amount, unit] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text) ?? [];
  if (amount !== undefined && unit !== undefined)
    return { kind: "time", timeMs: nowMs - Number(amount) * (UNITS[unit] ?? 0) };
  const timeMs = RFC3339.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(timeMs))
    throw new QueryFault("since", "since is a sequence, an RFC 3339 time or a duration such as 10m");
  return { kind: "time", timeMs };
}

/**
 * Turns a checked query into a subscription. `originOf` knows the id of a node by id or name.
 * @throws QueryFault
 */
export function toSubscription(
  query: z.output<typeof EventQuery>,
  lastEventId: string | undefined,
  nowMs: number,
  originOf: (ref: string) => string | undefined,
): Subscription {
  const patterns = split(query.filter).map(checkedPattern);
  const origins = new Set(split(query.node).map((ref) => knownOrigin(ref, originOf)));
  const matches = ({ type, origin }: EventKey): boolean =>
    (origins.size === 0 || origins.has(origin)) &&
    (patterns.length === 0 || patterns.some((pattern) => matchesPattern(pattern, type)));
  return {
    start: startPoint(query, lastEventId, nowMs),
    key: `${[...patterns].sort().join(",")} ${[...origins].sort().join(",")}`,
    matches,
    telemetry: query.telemetry,
  };
}

/** A browser that comes back sends the last id it saw; that is newer than what its address still says. */
function startPoint(query: z.output<typeof EventQuery>, lastEventId: string | undefined, nowMs: number): StartPoint {
  if (lastEventId !== undefined) {
    if (!/^\d{1,15}$/.test(lastEventId))
      throw new QueryFault("last-event-id", "Last-Event-ID is the sequence of an event");
    return { kind: "after", seq: Number(lastEventId) };
  }
  if (query.since !== undefined && query.tail !== undefined)
    throw new QueryFault("tail", "since and tail exclude each other");
  if (query.since !== undefined) return parseSince(query.since, nowMs);
  return query.tail === undefined ? { kind: "now" } : { kind: "tail", count: query.tail };
}

function split(text: string | undefined): string[] {
  return (text ?? "")
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

function checkedPattern(pattern: string): string {
  try {
    parsePattern(pattern);
    return pattern;
  } catch (error) {
    throw new QueryFault("filter", error instanceof Error ? error.message : "illegal pattern");
  }
}

function knownOrigin(ref: string, originOf: (ref: string) => string | undefined): string {
  const origin = originOf(ref);
  if (origin === undefined) throw new QueryFault("node", `no node is called ${JSON.stringify(ref)}`);
  return origin;
}
