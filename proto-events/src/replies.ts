// SPDX-License-Identifier: Apache-2.0
/**
 * Shapes that every operation shares: errors on the wire, problem documents, lists, the census of a fan-out, the event
 * envelope and the frames of the event stream (DESIGN.md 5 and 8).
 */
import { z } from "zod";
import { ERROR_KINDS, type ErrorKind } from "./errors.ts";
import { NodeId, NodeName, Timestamp } from "./primitives.ts";

const KINDS = Object.keys(ERROR_KINDS) as [ErrorKind, ...ErrorKind[]];

/** An error as it crosses the bus. A kind that a newer peer invented reads as `internal`. */
export const WireError = z
  .object({
    code: z.string().describe("Code of the catalogue (`dvctl errors`)."),
    kind: z.enum(KINDS).catch("internal").describe("Kind; decides HTTP status and exit code."),
    message: z.string().describe("What happened, safe to show."),
    details: z.record(z.string(), z.unknown()).optional().describe("Structured facts, safe to show."),
  })
  .describe("An error.");
export type WireError = z.output<typeof WireError>;

/** RFC 9457 problem document with the members `code`, `kind`, `exitCode`, `requestId` and `details`. */
export const Problem = z.object({
  type: z.string().describe("URI reference that names the problem: /v1/errors?code=<code>."),
  title: z.string().describe("Summary of the code."),
  status: z.number().int().describe("HTTP status."),
  detail: z.string().describe("What happened in this case."),
  instance: z.string().optional().describe("Path of the request."),
  code: z.string(),
  kind: z.enum(KINDS),
  exitCode: z.number().int().min(0).max(6).describe("Exit code of a command that ends with this error."),
  requestId: z.string(),
  details: z.record(z.string(), z.unknown()).optional(),
});
export type Problem = z.output<typeof Problem>;

/** How one target of a fan-out ended. */
export const TargetStatus = z.enum(["ok", "failed", "refused", "unreachable", "timed-out", "skipped"]);
export type TargetStatus = z.output<typeof TargetStatus>;

/** Count of how the targets of a fan-out ended. The numbers after `digest` always add up to `total`. */
export const Census = z.object({
  total: z.number().int().nonnegative(),
  digest: z.string().describe("SHA-256 over the sorted node ids, hexadecimal."),
  ok: z.number().int().nonnegative(),
  failed: z.number().int().nonnegative(),
  refused: z.number().int().nonnegative(),
  unreachable: z.number().int().nonnegative(),
  timedOut: z.number().int().nonnegative(),
  skipped: z.number().int().nonnegative(),
});
export type Census = z.output<typeof Census>;

/** Schema of one line of a fan-out's result, around the operation's own output. */
export function targetResult<T extends z.ZodType>(data: T) {
  return z.object({
    node: NodeId,
    name: NodeName,
    status: TargetStatus,
    ms: z.number().nonnegative().describe("Milliseconds until the answer."),
    data: data.optional(),
    error: WireError.optional(),
  });
}

/** Schema of a whole fan-out. */
export function fanOut<T extends z.ZodType>(data: T) {
  return z.object({ census: Census, results: z.array(targetResult(data)) });
}

/** Schema of a page of a list. */
export function page<T extends z.ZodType>(item: T) {
  return z.object({
    items: z.array(item),
    nextCursor: z.string().nullable().describe("Send as `cursor` for the next page."),
  });
}

/** Query fields that every list takes. */
export const listQuery = {
  filter: z
    .string()
    .max(500)
    .optional()
    .describe("Conditions joined by commas: field=value, field!=value, field~text; all must hold."),
  sort: z.string().max(100).optional().describe("Field to sort by; a leading - reverses."),
  limit: z.coerce.number().int().min(1).max(1000).default(200).describe("Most items of a page (1 to 1000)."),
  cursor: z.string().max(500).optional().describe("Where the page starts, from nextCursor."),
};

/** Query fields of the event stream, for the gateway and for whoever follows it. */
export const eventQuery = {
  filter: z
    .string()
    .max(1000)
    .optional()
    .describe("Wildcards over the event type, separated by commas: discovery.node.*, gateway.>"),
  node: z
    .string()
    .max(200)
    .optional()
    .describe("Id or name of the origin; core for the core parts. Several separated by commas."),
  since: z
    .string()
    .max(64)
    .optional()
    .describe("Only events after this sequence, RFC 3339 time, or within this duration (90s, 10m, 2h, 7d)."),
  tail: z.coerce
    .number()
    .int()
    .min(0)
    .max(10_000)
    .optional()
    .describe("Begin with the latest matching events, this many (0 to 10000)."),
};

/** An event as it is stored and delivered; attribute names are those of CloudEvents 1.0. */
export const EventEnvelope = z.object({
  id: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .describe("128-bit random id, made once; also the Nats-Msg-Id."),
  type: z.string().describe("<service>.<entity>.<fact>."),
  source: z.string().describe("Node id of the origin, or core."),
  time: Timestamp,
  subject: z.string().describe("What it is about, such as a node id."),
  dataversion: z.number().int().positive(),
  requestid: z.string().optional(),
  actor: z.string().optional(),
  data: z.unknown(),
});
export type EventEnvelope = z.output<typeof EventEnvelope>;

/** An event as a subscriber receives it: the envelope and its place in the stream. */
export const EventFrame = EventEnvelope.extend({
  seq: z.number().int().positive().describe("Sequence in the event stream."),
});
export type EventFrame = z.output<typeof EventFrame>;

/** Frames that are no events. `gap`: events between `from` and `to` are gone from the stream; a `snapshot` follows. */
export const ControlFrame = z.discriminatedUnion("control", [
  z.object({ control: z.literal("gap"), from: z.number().int(), to: z.number().int(), reason: z.string() }),
  z.object({ control: z.literal("snapshot"), seq: z.number().int(), nodes: z.array(z.unknown()) }),
  z.object({ control: z.literal("caught-up"), seq: z.number().int() }),
]);
export type ControlFrame = z.output<typeof ControlFrame>;

/** A live telemetry message as the event socket relays it when asked with `telemetry=1`. */
export const TelemetryFrame = z.object({
  telemetry: z.string().describe("<service>.<what>."),
  source: z.string(),
  time: Timestamp,
  data: z.unknown(),
});
export type TelemetryFrame = z.output<typeof TelemetryFrame>;
