// SPDX-License-Identifier: Apache-2.0
/** How the result of a verification of the audit trail is shown, and which exit code it has. */
import type { Finding, TrailReport } from "@debvisor/shared/audit/verify-report";
import { renderTable } from "@debvisor/shared/table";
import { type Call, EXIT } from "./command.ts";

/** As `renderTable` takes it. */
type TableStyle = Parameters<typeof renderTable>[2];

/** Shows a report: as it is for programs, in words for people. Returns the exit code. */
export function showTrailReport(report: TrailReport, { output }: Pick<Call, "output">): number {
  output.result(report, () => drawTrailReport(report, { color: output.color, nowMs: Date.now() }));
  if (!report.isPinned && report.operator !== "") {
    output.info(
      "the operator's key was taken from the export itself; --trust compares it with one known from elsewhere",
    );
  }
  if (report.ok && report.witnesses.length === 0 && report.checkpoints > 0) {
    output.warn("witnesses: 0; no other node confirms this trail (fewer than three nodes, or none answered)");
  }
  if (report.ok) return EXIT.ok;
  output.error(
    fewWitnesses(report)
      ? "nothing was altered, but fewer nodes vouch for it than was asked for"
      : `the trail is not what was written: ${report.findingsInAll} findings`,
  );
  return EXIT.check;
}

/** The report in words. */
export function drawTrailReport(report: TrailReport, style: TableStyle): string {
  const { records, from, emitters, checkpoints, witnesses, findings, findingsInAll } = report;
  const seen = witnesses.length === 0 ? "witnesses: 0" : `witnesses: ${witnesses.length} (${witnesses.join(", ")})`;
  const facts: readonly (readonly [string, string])[] = [
    ["Cluster", `${report.cluster}, generation ${report.generation}`],
    ["Operator", `${report.operator}${report.isPinned ? "" : " (named by the export)"}`],
    ["Records", `${records} of ${emitters} emitters${from > 1 ? `, from record ${from}` : ""}`],
    ["Checkpoints", `${checkpoints}; the latest: ${seen}`],
    ["Sealed", `up to record ${report.sealedUpTo}; ${report.unsealed} not sealed`],
    ["Intents", `${report.open} without outcome, ${report.unknown} whose outcome nobody knows`],
    ["Signatures", `${report.signatures} checked one by one`],
  ];
  const width = Math.max(...facts.map(([name]) => name.length));
  const lines = facts.map(([name, text]) => `${name.padEnd(width)}  ${text}`);
  const parts = [lines.join("\n")];
  if (findings.length > 0) parts.push(findingTable(findings, style));
  if (findingsInAll > findings.length) parts.push(`… and ${findingsInAll - findings.length} more`);
  const altered = !report.ok && !fewWitnesses(report);
  const verdict = altered ? "this is not what was written" : "nothing was altered";
  parts.push(`${report.ok ? "ok" : "not ok"}: ${records} records, ${verdict}`);
  return parts.join("\n\n");
}

/** True when all that is wrong is the number of witnesses. */
function fewWitnesses({ ok, findings, findingsInAll }: TrailReport): boolean {
  return !ok && findingsInAll === findings.length && findings.every(({ kind }) => kind === "witnesses");
}

function findingTable(findings: readonly Finding[], style: TableStyle): string {
  const columns = [
    { heading: "FINDING", value: "kind" },
    { heading: "RECORD", value: "place" },
    { heading: "LINE", value: "line" },
    { heading: "EMITTER", value: "emitter" },
    { heading: "DETAIL", value: "detail" },
  ];
  const rows = findings.map((finding) => ({ ...finding, place: placeOf(finding) }));
  return renderTable(columns, rows, style);
}

function placeOf({ seq, toSeq }: Finding): string {
  if (seq === null) return "";
  return toSeq === null || toSeq === seq ? String(seq) : `${seq} to ${toSeq}`;
}
