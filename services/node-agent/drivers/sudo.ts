// SPDX-License-Identifier: Apache-2.0
/** sudo(8) 1.9: what this user may do. Lists only; never asks for a password and runs nothing. */
import { exec } from "@debvisor/shared/exec";
import { parseSudoList, type SudoRights } from "../model/rights-checks.ts";

const TIMEOUT_MS = 3_000;

/** What sudo grants this user without a password. Never throws. */
export async function readSudoRights(signal?: AbortSignal): Promise<SudoRights> {
  const result = await exec("sudo", ["--non-interactive", "--list"], { timeoutMs: TIMEOUT_MS, signal });
  if (result.missing) return { outcome: "missing" };
  const commands = result.failed ? [] : parseSudoList(result.stdout);
  if (commands.length > 0) return { outcome: "granted", commands };
  const said = result.stderr
    .trim()
    .split("\n")[0]
    ?.replace(/^sudo: /, "")
    .replace(/\.$/, "");
  return { outcome: "refused", reason: said || "it lists no command" };
}
