// SPDX-License-Identifier: Apache-2.0
/** A record as an entry of the systemd journal: one readable line, and its details as fields. */
import type { AuditRecord } from "@debvisor/proto-events/audit";

/** syslog severities. */
const WARNING = "4";
const NOTICE = "5";
const MAX_VALUE = 2_000;
const BAD_RESULTS: ReadonlySet<string> = new Set(["failed", "stuck", "refused", "unknown"]);

/** Fields in the order in which they are written. Values hold no line end, so that none can pass for another field. */
export function journalFields(record: AuditRecord, seq: number): [string, string][] {
  const { result } = record;
  const isBad = record.kind === "alarm" || (result !== null && BAD_RESULTS.has(result.status));
  const fields: [string, string | null][] = [
    ["MESSAGE", messageOf(record)],
    ["PRIORITY", isBad ? WARNING : NOTICE],
    ["SYSLOG_IDENTIFIER", "debvisor"],
    ["DEBVISOR_SEQ", String(seq)],
    ["DEBVISOR_ID", record.id],
    ["DEBVISOR_EMITTER", record.emitter],
    ["DEBVISOR_TIME", record.time],
    ["DEBVISOR_KIND", record.kind],
    ["DEBVISOR_REF", record.ref],
    ["DEBVISOR_ACTOR", record.actor],
    ["DEBVISOR_USER", record.user],
    ["DEBVISOR_SOURCE", record.source],
    ["DEBVISOR_ACTION", record.action],
    ["DEBVISOR_MODE", record.mode],
    ["DEBVISOR_TARGETS", record.targets.join(",")],
    ["DEBVISOR_ARGS", JSON.stringify(record.args)],
    ["DEBVISOR_RESULT", result?.status ?? null],
    ["DEBVISOR_CODE", result?.code ?? null],
    ["DEBVISOR_EXIT_CODE", result ? String(result.exitCode) : null],
    ["DEBVISOR_REASON", record.reason],
    ["DEBVISOR_OVERRIDE", record.override],
    ["DEBVISOR_OPERATION", record.operation],
    ["DEBVISOR_TRACE_ID", record.traceId],
  ];
  return fields.flatMap(([name, value]) => (value ? [[name, oneLine(value)] as [string, string]] : []));
}

/** `debvisor: operator (ann) node-agent.put-file on node-1: ok`. */
function messageOf({ actor, user, action, kind, targets, result, reason, mode }: AuditRecord): string {
  const who = user && user !== actor ? `${actor} (${user})` : actor;
  const how = mode && mode !== "apply" ? ` as ${mode}` : "";
  const where = targets.length > 0 ? ` on ${listed(targets)}` : "";
  const end = result ? `${result.status}${result.code ? ` ${result.code}` : ""}` : kind;
  return `debvisor: ${who} ${action}${how}${where}: ${end}${reason ? ` (${reason})` : ""}`;
}

function listed(targets: readonly string[]): string {
  const shown = targets.slice(0, 5).join(", ");
  return targets.length > 5 ? `${shown} and ${targets.length - 5} more` : shown;
}

function oneLine(value: string): string {
  const line = value.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ");
  return line.length > MAX_VALUE ? `${line.slice(0, MAX_VALUE)}…` : line;
}
