// SPDX-License-Identifier: Apache-2.0
/** What the commands that change records share: the table of servers after a change, and undoing one only if it is still there. */
import { dnsContract } from "@debvisor/proto-events/dns";
import { ChangeResult } from "@debvisor/proto-events/dns-data";
import type { Output } from "@debvisor/proto-events/kit";
import { DvError } from "@debvisor/shared/errors";
import { renderTable } from "@debvisor/shared/table";
import { type Call, EXIT } from "./command.ts";
import { toHttp } from "./from-contract.ts";
import type { Seen } from "./operation-follow.ts";

const { checkChange, checkPropagation } = dnsContract.operations;
const SLACK_MS = 3_000;

/** Shows how every server stands to a change. 5 when they do not answer alike: the change stays, and is not everywhere. */
export function reportServers({ operation }: Seen, { output }: Call): number {
  const result = ChangeResult.safeParse(operation.result);
  if (!result.success || result.data.zones.length === 0) return EXIT.ok;
  const { zones, propagated } = result.data;
  const rows = zones.flatMap(({ zone, servers }) => servers.map((server) => ({ zone, ...server })));
  const columns = [{ heading: "ZONE", value: "zone" }, ...(checkPropagation.cli?.columns ?? [])];
  const style = { color: output.color, nowMs: Date.now() };
  for (const line of renderTable(columns, rows, style).split("\n")) output.info(line);
  if (propagated) return EXIT.ok;
  const behind = rows.filter(({ status }) => status !== "same");
  for (const { server, zone, status, serial, detail } of behind)
    output.error(
      `not propagated: ${server}, ${zone}: ${status}, serial ${serial ?? "unknown"}${detail && `; ${detail}`}`,
    );
  return EXIT.failed;
}

/** Refuses when somebody changed one of the records since. @throws CONFLICT with both values */
export async function refuseChangedSince(change: string, call: Call): Promise<void> {
  const request = toHttp(checkChange, { change });
  const reply = await call.client().request({ ...request, timeoutMs: checkChange.timeoutMs + SLACK_MS });
  const { records } = reply.body as Output<typeof dnsContract, "checkChange">;
  const since = records.filter(({ status }) => status === "changed-since");
  const [first] = since;
  if (!first) return;
  throw new DvError(
    "CONFLICT",
    `${first.name} ${first.type} was changed since: ${change} left ${first.after ?? "none"}, there is ${first.found ?? "none"}`,
    { details: { records: since, hint: `dvctl dns changes check ${change}` } },
  );
}
