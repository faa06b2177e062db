// SPDX-License-Identifier: Apache-2.0
/** Writes entries to the systemd journal with `logger --journald` of util-linux (2.38), one call for each entry. */
import { existsSync } from "node:fs";
import { exec, execError } from "@debvisor/shared/exec";

/** Where journald listens. */
const SOCKET = "/run/systemd/journal/socket";
const TIMEOUT_MS = 2_000;

/** Whether there is a journal on this host. */
export function hasJournal(): boolean {
  return existsSync(SOCKET);
}

/** Writes one entry. Values must hold no line end. @throws TOOL_MISSING, TOOL_FAILED */
export async function writeJournal(fields: readonly (readonly [string, string])[]): Promise<void> {
  const input = `${fields.map(([name, value]) => `${name}=${value}`).join("\n")}\n`;
  const result = await exec("logger", ["--journald"], { timeoutMs: TIMEOUT_MS, input });
  if (result.failed) throw execError(result);
}
