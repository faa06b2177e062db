// SPDX-License-Identifier: Apache-2.0
/**
 * Keeps the audit record that an emitter is about to send, so that a process which dies in the middle of it leaves a record to
 * be sent by the next one. Written and synced before the record is sent.
 */
import { mkdirSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { z } from "zod";
import { writeFileAtomic } from "../atomic-file.ts";
import { DvError } from "../errors.ts";

const Pending = z.strictObject({
  id: z.string().regex(/^[0-9a-f]{32}$/),
  line: z.string(),
  n: z.number().int().positive(),
  /** Sequence of the emitter's record before, which guards the append. */
  expected: z.number().int().nonnegative(),
});
/** A record on its way. */
export type PendingRecord = z.output<typeof Pending>;

const Content = z.strictObject({ version: z.literal(1), pending: Pending });

/** Reads the record that was to be sent last; undefined when there is no file. @throws DATA_FOLDER_CORRUPT */
export function readPending(file: string): PendingRecord | undefined {
  try {
    return Content.parse(JSON.parse(readFileSync(file, "utf8"))).pending;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new DvError("DATA_FOLDER_CORRUPT", `${file} does not hold an audit record.`, { cause: error });
  }
}

/** Returns when the record would survive a power cut. */
export function writePending(file: string, { id, line, n, expected }: PendingRecord): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileAtomic(file, JSON.stringify({ version: 1, pending: { id, line, n, expected } }), 0o600);
}
