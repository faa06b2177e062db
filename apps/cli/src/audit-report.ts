// SPDX-License-Identifier: Apache-2.0
/** What a verification of the audit trail found, for people: counts, seal, witnesses, and every finding with its place. */
import type { Finding, TrailReport } from "@debvisor/shared/audit/verify-report";
import { printable } from "@debvisor/shared/output";
import { renderTable, type TableStyle, toned } from "@debvisor/shared/table";

/** The report as text. */
export function drawTrailReport(report: TrailReport, style: TableStyle): string {
  const { ok, findings, findingsInAll } = report;
  const head = `${ok ? toned("ok", style.color) : toned("failed", style.color)}: ${summaryOf(report)}`;
  const parts = [[head, ...factLines(report).map((line) => `  ${line}`)].join("\n")];
  if (findings.length > 0) parts.push(drawFindings(findings, style));
  if (findingsInAll > findings.length) parts.push(`and ${findingsInAll - findings.length} more`);
  return parts.join("\n\n");
}

function summaryOf({ ok, records, findingsInAll, findings }: TrailReport): string {
  if (ok) return `${records} records, nothing was altered`;
  const failures = findings.filter(({ isFailure }) => isFailure).length;
  const more = findingsInAll > findings.length ? " or more" : "";
  return `${records} records, ${failures}${more} ${failures === 1 ? "finding" : "findings"}`;
}

function factLines(report: TrailReport): readonly string[] {
  const { witnesses, unsealed, signatures, open, unknown } = report;
  return [
    `cluster: ${report.cluster || "-"}, generation ${report.generation}`,
    `operator: ${report.operator || "-"}${report.isPinned ? "" : " (as the trail itself says; --operator KEY checks it)"}`,
    `records: ${report.from} to ${report.from + report.records - 1} of ${report.emitters} emitters`,
    `sealed: up to ${report.sealedUpTo} by ${report.checkpoints} checkpoints; ${unsealed} not yet`,
    `witnesses: ${witnesses.length}${witnesses.length === 0 ? " (fewer than three nodes, or none answered)" : `: ${witnesses.join(", ")}`}`,
    `signatures: ${signatures} records checked one by one`,
    `intents without outcome: ${open}; outcomes that nobody knows: ${unknown}`,
  ].map(printable);
}

function drawFindings(findings: readonly Finding[], style: TableStyle): string {
  const columns = [
    { heading: "FINDING", value: "kind" },
    { heading: "RECORD", value: "place" },
    { heading: "LINE", value: "line" },
    { heading: "EMITTER", value: "emitter" },
    { heading: "DETAIL", value: "detail" },
  ];
  const rows = findings.map((finding) => {
    const { seq, toSeq } = finding;
    return { ...finding, place: toSeq === null || toSeq === seq ? seq : `${seq} to ${toSeq}` };
  });
  return renderTable(columns, rows, style);
}
