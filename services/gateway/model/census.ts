// SPDX-License-Identifier: Apache-2.0
/** Counting how the targets of a fan-out ended, and writing the reply around answers that stay the bytes they were. */
import { createHash } from "node:crypto";
import type { Census, TargetStatus, WireError } from "@debvisor/proto-events/replies";

const COUNTED_AS = {
  ok: "ok",
  failed: "failed",
  refused: "refused",
  unreachable: "unreachable",
  "timed-out": "timedOut",
  skipped: "skipped",
} as const satisfies Record<TargetStatus, keyof Census>;

/** SHA-256 over the sorted ids, one per line, hexadecimal: the name of a target set. */
export function digestOf(ids: readonly string[]): string {
  return createHash("sha256")
    .update([...ids].sort().join("\n"))
    .digest("hex");
}

/** Counts statuses. The numbers add up to the total once every target was counted. */
export class CensusCount {
  readonly #census: { -readonly [K in keyof Census]: Census[K] };

  constructor(total: number, digest: string) {
    this.#census = { total, digest, ok: 0, failed: 0, refused: 0, unreachable: 0, timedOut: 0, skipped: 0 };
  }

  add(status: TargetStatus): void {
    this.#census[COUNTED_AS[status]]++;
  }

  get result(): Census {
    return this.#census;
  }
}

/** One target's line of the reply. `raw` is the JSON text of a good answer. */
export interface ResultLine {
  readonly node: string;
  readonly name: string;
  readonly status: TargetStatus;
  readonly ms: number;
  readonly raw?: string | undefined;
  readonly error?: WireError | undefined;
}

/** JSON text of one line. Ids and names hold no character that JSON escapes. */
export function resultJson({ node, name, status, ms, raw, error }: ResultLine): string {
  const body = raw !== undefined ? `,"data":${raw}` : error ? `,"error":${JSON.stringify(error)}` : "";
  return `{"node":"${node}","name":"${name}","status":"${status}","ms":${ms}${body}}`;
}
