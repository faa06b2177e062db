// SPDX-License-Identifier: Apache-2.0
/** systemd-detect-virt(1), checked with systemd 252. It works without systemd as process 1. */
import { exec } from "@debvisor/shared/exec";

/** What systemd-detect-virt prints (`none` with exit status 1 on hardware); undefined when it is missing or hangs. */
export async function detectVirt(signal?: AbortSignal): Promise<string | undefined> {
  const result = await exec("systemd-detect-virt", [], { timeoutMs: 2_000, signal });
  const word = result.stdout.trim();
  return result.exitCode === undefined || word === "" ? undefined : word;
}
