// SPDX-License-Identifier: Apache-2.0
/** Reads the trail as it is stored, in parts that fit into a message. */
import type { auditContract } from "@debvisor/proto-events/audit";
import type { Input, Output } from "@debvisor/proto-events/kit";
import { headerLine } from "@debvisor/shared/audit/trail-file";
import type { Anchor } from "@debvisor/shared/audit/trust";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import { exportHeader } from "../reconcilers/export-header.ts";
import type { ReadRecorder } from "../reconcilers/read-recorder.ts";
import type { SealPlace, Seals } from "../reconcilers/seals.ts";
import type { Trail } from "../reconcilers/trail.ts";

type C = typeof auditContract;

/** Most bytes of records and checkpoints; a message of the bus holds 1 MiB, and quotes are escaped in it. */
const MAX_BYTES = 700_000;

export interface ReadTrailDeps {
  readonly trail: Trail;
  readonly seals: Seals;
  readonly reads: ReadRecorder;
  readonly cluster: string;
  readonly anchor: Anchor;
}

export function readTrailHandler({ trail, seals, reads, cluster, anchor }: ReadTrailDeps) {
  return async ({ from, limit }: Input<C, "readTrail">, context: RequestContext): Promise<Output<C, "readTrail">> => {
    await reads.record("read-trail", { from, limit }, context);
    await trail.refresh(1_000);
    const header = headerLine(exportHeader({ trail, cluster, anchor }, Math.min(from, trail.size + 1)));
    const lines = await trail.lines(from, from + limit - 1);
    const places = seals.placesBetween(from, from + lines.length - 1);
    const records = lines.slice(0, fitting(lines, sealSizes(places, from), escapedSize(header)));
    const last = from + records.length - 1;
    return {
      header,
      records,
      next: records.length > 0 && last < trail.size ? last + 1 : null,
      checkpoints: await seals.lines(places.filter(({ size }) => size <= last)),
    };
  };
}

/** Bytes of the checkpoints that stand after each record, by its index. */
function sealSizes(places: readonly SealPlace[], from: number): ReadonlyMap<number, number> {
  const sizes = new Map<number, number>();
  for (const { size, length } of places) sizes.set(size - from, (sizes.get(size - from) ?? 0) + length * 1.1);
  return sizes;
}

/** How many of the lines fit into an answer with their checkpoints; at least one. */
function fitting(lines: readonly string[], seals: ReadonlyMap<number, number>, start: number): number {
  let bytes = start;
  for (const [index, line] of lines.entries()) {
    bytes += escapedSize(line) + (seals.get(index) ?? 0);
    if (bytes > MAX_BYTES) return Math.max(1, index);
  }
  return lines.length;
}

/** Bytes of a line inside of an answer, near enough: quotes get a backslash. */
function escapedSize(line: string): number {
  let quotes = 0;
  for (let at = line.indexOf('"'); at !== -1; at = line.indexOf('"', at + 1)) quotes++;
  return Buffer.byteLength(line) + quotes;
}
