// SPDX-License-Identifier: Apache-2.0
/** The audit trail page by page over HTTP, as the lines of an export (format in `shared/src/audit/trail-file.ts`). */
import { auditContract } from "@debvisor/proto-events/audit";
import { mergeLines } from "@debvisor/shared/audit/trail-file";
import { DvError } from "@debvisor/shared/errors";
import type { ApiReply } from "./client.ts";
import type { Call } from "./command.ts";

const { readTrail } = auditContract.operations;

const LIMIT_MS = readTrail.timeoutMs + 3_000;
const PAGE = 1_000;
const ATTEMPTS = 6;

/**
 * The lines of the trail, header first. The end is where it was when the last page was asked for: records that are written
 * meanwhile, such as those of reading it, are not chased. @throws MALFORMED_REPLY and what the gateway refuses with
 */
export async function* trailLines(call: Pick<Call, "client">, from: number): AsyncGenerator<string> {
  const client = call.client();
  for (let at: number | null = from; at !== null; ) {
    const part = read(
      await client.request({
        method: "GET",
        path: readTrail.http?.path ?? "",
        query: { from: at, limit: PAGE },
        timeoutMs: LIMIT_MS,
        attempts: ATTEMPTS,
      }),
    );
    if (at === from) yield part.header;
    yield* mergeLines(at, part.records, part.checkpoints);
    if (part.next !== null && part.next <= at) {
      throw new DvError("MALFORMED_REPLY", `the trail goes on at ${part.next}, which is not after ${at}`);
    }
    at = part.next;
  }
}

function read(reply: ApiReply) {
  const checked = readTrail.output.safeParse(reply.body);
  if (checked.success) return checked.data;
  const issue = checked.error.issues[0];
  throw new DvError("MALFORMED_REPLY", `${reply.server}: ${issue?.path.join(".")}: ${issue?.message}`, {
    cause: checked.error,
  });
}
