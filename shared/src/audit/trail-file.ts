// SPDX-License-Identifier: Apache-2.0
/**
 * The export of an audit trail, format `debvisor-audit-trail` version 1: UTF-8 lines, each ended by a line feed.
 *
 * Line 1 is the header. Then come the records, each line a record's stored bytes, in the order of the trail; a checkpoint
 * `{"checkpoint":…,"witnesses":[…]}` stands right after the record that completes its size. An export that begins later than
 * with record 1 carries what came before in `before`: the complete subtrees and the ends of the chains.
 */

import { isUtf8 } from "node:buffer";
import { createReadStream } from "node:fs";
import { Checkpoint, Cosignature, type SealedCheckpoint } from "@debvisor/proto-events/audit";
import { Sha256 } from "@debvisor/proto-events/primitives";
import { z } from "zod";
import { canonicalJson } from "./canonical.ts";

/** Longest line that a trail may have, in bytes: a checkpoint with many witnesses. */
export const MAX_LINE_BYTES = 1024 * 1024;

/** End of an emitter's chain before the first record of an export, and the credentials of its processes by boot id. */
const EmitterState = z.object({
  n: z.number().int().positive(),
  leaf: Sha256,
  credentials: z.record(z.string(), z.string()),
});
export type EmitterState = z.output<typeof EmitterState>;

/** First line of an export. Fields that are added later are no error to an older reader. */
export const TrailHeader = z.object({
  format: z.literal("debvisor-audit-trail"),
  v: z.literal(1),
  cluster: z.string(),
  generation: z.number().int().positive(),
  /** Public key of the operator, `O…`. */
  operator: z.string(),
  /** JWTs of the accounts CORE and NODES. */
  accounts: z.array(z.string()).max(16),
  /** Sequence of the first record. */
  from: z.number().int().positive(),
  /** Sequence of the last record that the export was to have; absent when nobody knew. */
  to: z.number().int().nonnegative().optional(),
  /** Present when `from` is greater than 1. */
  before: z.object({ peaks: z.array(Sha256).max(53), emitters: z.record(z.string(), EmitterState) }).optional(),
});
export type TrailHeader = z.output<typeof TrailHeader>;

/** Line of a checkpoint. */
const SealedLine = z.object({ checkpoint: Checkpoint, witnesses: z.array(Cosignature) });

/** Writes the header's line, without a line end. */
export function headerLine(header: TrailHeader): string {
  return canonicalJson(TrailHeader.parse(header));
}

/** Writes a checkpoint's line, without a line end. */
export function sealLine({ checkpoint, witnesses }: SealedCheckpoint): string {
  return canonicalJson({ checkpoint, witnesses });
}

/** Whether a line is a checkpoint's; records have no such field first, because fields are sorted. */
export function isSealLine(line: string): boolean {
  return line.startsWith('{"checkpoint":');
}

/** Reads a checkpoint's line; undefined for what is none. */
export function parseSeal(line: string): SealedCheckpoint | undefined {
  try {
    return SealedLine.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}

/** Reads the header's line; undefined for what is none. */
export function parseHeader(line: string): TrailHeader | undefined {
  try {
    return TrailHeader.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}

/**
 * Puts records and checkpoints of one part of a trail in order: `records[0]` has the sequence `from`. Checkpoints whose size
 * lies outside of the part are left out, as are those that a later one of the same size and root repeats.
 */
export function mergeLines(from: number, records: readonly string[], seals: readonly string[]): string[] {
  const bySize = new Map<number, Map<string, string>>();
  for (const line of seals) {
    const checkpoint = parseSeal(line)?.checkpoint;
    if (!checkpoint) continue;
    const sameSize = bySize.get(checkpoint.size) ?? new Map<string, string>();
    bySize.set(checkpoint.size, sameSize.set(checkpoint.root, line));
  }
  return records.flatMap((line, index) => [line, ...(bySize.get(from + index)?.values() ?? [])]);
}

/**
 * Reads the lines of a file of any size in constant memory; `-` is standard input. A line that is no UTF-8, or too long, comes
 * as a text that no record can be, so that it is found like any other damage. @throws what the file system throws
 */
export async function* readLines(file: string): AsyncGenerator<string> {
  yield* splitLines(file === "-" ? process.stdin : createReadStream(file, { highWaterMark: 1024 * 1024 }));
}

/** Splits bytes into lines; a last line without a line feed counts. */
export async function* splitLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let parts: Buffer[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let start = 0;
    for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, start)) {
      const rest = bytes.subarray(start, end);
      yield lineOf(parts.length === 0 ? rest : Buffer.concat([...parts, rest]), length + rest.length);
      parts = [];
      length = 0;
      start = end + 1;
    }
    const rest = bytes.subarray(start);
    length += rest.length;
    if (length <= MAX_LINE_BYTES && rest.length > 0) parts.push(rest);
  }
  if (length > 0) yield lineOf(Buffer.concat(parts), length);
}

function lineOf(bytes: Buffer, length: number): string {
  if (length > MAX_LINE_BYTES) return `\0a line of ${length} bytes`;
  return isUtf8(bytes) ? bytes.toString("utf8") : "\0a line that is no UTF-8";
}
