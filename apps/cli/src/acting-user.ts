// SPDX-License-Identifier: Apache-2.0
/**
 * Who typed a command, for the record: the user of this process, and whoever became that user with sudo. The cluster knows
 * the key; people share keys, and this is what tells them apart. It is a claim of this machine and decides nothing.
 */
import { userInfo } from "node:os";
import type { Environment } from "@debvisor/shared/config";

/** Longest header value. */
const LIMIT = 200;

/** `alice`, or `root (sudo by alice)`; characters that a header cannot carry become question marks. */
export function actingUser(env: Environment, own: string = ownName()): string {
  const before = env["SUDO_USER"];
  const text = before === undefined || before === "" || before === own ? own : `${own} (sudo by ${before})`;
  return text.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, LIMIT);
}

/* A process in a container may run under a number without a name. */
function ownName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? "unknown"}`;
  }
}
