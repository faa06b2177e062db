// SPDX-License-Identifier: Apache-2.0
/** systemctl(1) and journalctl(1), checked with systemd 252. Only reads. */
import { exec, execChecked } from "@debvisor/shared/exec";
import { parseUnits, UNIT_PROPERTIES, type UnitState } from "../model/unit-checks.ts";

const TIMEOUT_MS = 5_000;
const JOURNAL_LINES = 20;

/** States of units by id; names may hold patterns, which match loaded units. @throws TOOL_FAILED, TOOL_MISSING */
export async function showUnits(names: readonly string[], signal?: AbortSignal): Promise<Map<string, UnitState>> {
  const args = ["show", "--no-pager", `--property=${UNIT_PROPERTIES.join(",")}`, "--", ...names];
  return parseUnits((await execChecked("systemctl", args, { timeoutMs: TIMEOUT_MS, signal })).stdout);
}

/** The last 20 journal lines of a unit; empty when this user may not read the journal. Never throws. */
export async function lastJournalLines(unit: string, signal?: AbortSignal): Promise<string> {
  const args = [`--unit=${unit}`, `--lines=${JOURNAL_LINES}`, "--no-pager", "--quiet", "--output=short-iso"];
  const result = await exec("journalctl", args, { timeoutMs: TIMEOUT_MS, signal, maxOutputBytes: 256 * 1024 });
  return result.failed ? "" : result.stdout;
}
