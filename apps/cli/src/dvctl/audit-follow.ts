// SPDX-License-Identifier: Apache-2.0
/** `dvctl audit follow`: prints records as they are written; goes on where it was when a gateway is gone. */
import { auditContract, type ListedRecord } from "@debvisor/proto-events/audit";
import { systemClock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import { printable } from "@debvisor/shared/output";
import { toned } from "@debvisor/shared/table";
import { SECOND_MS } from "@debvisor/shared/units";
import { z } from "zod";
import type { ApiReply } from "../client.ts";
import { type Call, type CommandSpec, EXIT } from "../command.ts";
import { privilegeOf } from "../from-contract.ts";

const { listRecords } = auditContract.operations;
const { actor, node, action, result, kind, ref } = listRecords.input.shape;

const POLL_SECONDS = 25;
const SLACK_MS = 10_000;
/** Pause between two polls: reading the trail is recorded too, and must not wake its own reader at once. */
const PAUSE_MS = 500;
const AWAY_PAUSE_MS = 1_000;
const FIRST_ATTEMPTS = 3;

const Input = z.strictObject({
  ...{ actor, node, action, result, kind, ref },
  after: z.coerce.number().int().min(0).optional().describe("Begin after this sequence; default: with what comes now."),
  reads: z.boolean().default(false).describe("Also print the records of reading the trail."),
  count: z.coerce.number().int().min(1).optional().describe("End after this many records."),
});

export const auditFollow: CommandSpec = {
  noun: "audit",
  verb: "follow",
  summary: "Print audit records as they are written; goes on where it was after a broken connection.",
  input: Input,
  args: [],
  effect: "read",
  privilege: privilegeOf(listRecords),
  errors: listRecords.errors,
  help: {
    examples: [
      { command: "dvctl audit follow", does: "Print every record from now on; Ctrl-C ends it." },
      { command: "dvctl audit follow --result refused", does: "Watch what is refused." },
    ],
    scenarios: [
      { command: "dvctl audit follow --after 0 --format json > audit.jsonl", does: "Everything from the beginning." },
    ],
  },
  run: async (call) => {
    await follow(call);
    return EXIT.ok;
  },
};

async function follow(call: Call): Promise<void> {
  const { after, reads, count = Number.POSITIVE_INFINITY, ...filters } = Input.parse(call.input);
  const { signal, output } = call;
  const isShown = ({ kind: what }: ListedRecord) => reads || filters.kind === "read" || what !== "read";
  let left = count;
  let at = after ?? (await ask({ limit: 1 }, call, FIRST_ATTEMPTS)).lastSeq;
  const tell = outageTeller(call);
  while (!signal.aborted && left > 0) {
    const page = await ask({ ...filters, after: at, seconds: POLL_SECONDS }, call, 1).catch(tell);
    const shown = page?.items.filter(isShown).slice(0, left) ?? [];
    for (const record of shown) print(record, output);
    left -= shown.length;
    if (page) {
      // A full page ends before the trail does; what the filters leave out is not asked for again.
      at = page.items.at(-1)?.seq ?? Math.max(at, page.lastSeq);
      tell(undefined);
    }
    if (left > 0) await systemClock.sleep(page ? PAUSE_MS : AWAY_PAUSE_MS, signal);
  }
}

/* Says once that nobody answers, until somebody does. What can not pass by itself is thrown. */
function outageTeller({ signal, output }: Call): (error: unknown) => undefined {
  let isAway = false;
  return (error) => {
    if (error !== undefined && !signal.aborted) {
      if (!(error instanceof DvError) || error.exitCode !== EXIT.unavailable) throw error;
      if (!isAway) output.warn(`${error.message}; asking again`);
    }
    isAway = error !== undefined;
    return undefined;
  };
}

async function ask(query: Readonly<Record<string, unknown>>, call: Call, attempts: number) {
  const timeoutMs = Number(query["seconds"] ?? 0) * SECOND_MS + SLACK_MS;
  return read(
    await call.client().request({ method: "GET", path: listRecords.http?.path ?? "", query, timeoutMs, attempts }),
  );
}

function read(reply: ApiReply) {
  const checked = listRecords.output.safeParse(reply.body);
  if (checked.success) return checked.data;
  throw new DvError("MALFORMED_REPLY", `${reply.server}: the records cannot be read`, { cause: checked.error });
}

function print(record: ListedRecord, output: Call["output"]): void {
  if (output.format === "yaml") output.result([record], () => "");
  else output.line(output.format === "json" ? JSON.stringify(record) : recordLine(record, output.color));
}

/** `time seq kind actor (user) action targets: result (code) ref` on one line. */
export function recordLine(record: ListedRecord, color: boolean): string {
  const { time, seq, kind: what, user, targets, result: end } = record;
  const who = user === null ? record.actor : `${record.actor} (${user})`;
  const about = targets.length === 0 ? "" : ` ${targets.join(",")}`;
  const ended = end === null ? "" : `: ${toned(end.status, color)}${end.code === null ? "" : ` (${end.code})`}`;
  const how = record.mode === null || record.mode === "apply" ? "" : ` ${record.mode}`;
  return `${time} ${seq} ${what} ${printable(`${who} ${record.action}${how}${about}`)}${ended} ${printable(record.ref)}`;
}
