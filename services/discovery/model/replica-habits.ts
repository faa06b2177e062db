// SPDX-License-Identifier: Apache-2.0
/** What the streams and buckets of the contract lose by themselves. */
import { BUCKETS, type BucketSpec, STREAMS, type StreamSpec } from "@debvisor/proto-events/streams";
import type { StreamHabits } from "./replica-health.ts";

const LOGS: Readonly<Record<string, StreamSpec>> = STREAMS;
const KEYED: Readonly<Record<string, BucketSpec>> = BUCKETS;

/** The habits of a stream by its name; a bucket's stream is called `KV_` and the bucket's name. */
export function streamHabits(stream: string): StreamHabits {
  const log = LOGS[stream];
  if (log) return { appendOnly: true, maxAgeMs: log.maxAgeMs, ttl: false };
  const bucket = KEYED[stream.replace(/^KV_/, "")];
  // One that this version does not know is only counted.
  return { appendOnly: false, maxAgeMs: bucket?.maxAgeMs ?? 0, ttl: bucket?.ttl ?? true };
}
