// SPDX-License-Identifier: Apache-2.0
/** Which user runs the checks, and what sudo lets it do. */
import type { HealthCheck } from "@debvisor/proto-events/node-agent";
import { findingsOf } from "./findings.ts";

/** What sudo said about this user. */
export type SudoRights =
  | { readonly outcome: "granted"; readonly commands: readonly string[] }
  | { readonly outcome: "refused"; readonly reason: string }
  | { readonly outcome: "missing" };

/** What the check of sudo looks at. `rights` is undefined where sudo was not asked. */
export interface SudoFacts {
  readonly uid: number;
  /** Tools of this node that want more than an ordinary user. */
  readonly needs: readonly string[];
  readonly rights: SudoRights | undefined;
}

const PRIVILEGED_TOOLS = ["ceph", "zfs", "virsh", "rauc"];
const SHOWN = 5;
const { passed, skipped, warned } = findingsOf("permissions");

/** The tools among those needed that change the host. */
export function privilegedNeeds(needs: ReadonlySet<string>): string[] {
  return PRIVILEGED_TOOLS.filter((tool) => needs.has(tool));
}

/** Which user the checks run as; only tools that change the host need root. */
export function userCheck(uid: number, needs: ReadonlySet<string>): HealthCheck {
  if (uid === 0) return passed("user", "The checks run as root.");
  const privileged = privilegedNeeds(needs);
  if (privileged.length === 0) return passed("user", `The checks run as user ${uid}; nothing here needs more.`);
  const hint = "Give the unit the groups and capabilities that the README of the service names.";
  return warned("user", `The checks run as user ${uid}; ${privileged.join(", ")} may need more rights.`, hint);
}

/** What sudo grants without a password; missing rights count only where a tool needs them. */
export function sudoCheck({ uid, needs, rights }: SudoFacts): HealthCheck {
  if (uid === 0) return passed("sudo", "Root needs no sudo.");
  if (rights === undefined) return skipped("sudo", `Not asked: nothing on this node needs more than user ${uid} has.`);
  if (rights.outcome === "granted") {
    const shown = rights.commands.slice(0, SHOWN).join("; ");
    const more = rights.commands.length > SHOWN ? ` and ${rights.commands.length - SHOWN} more` : "";
    return passed("sudo", `User ${uid} may run through sudo: ${shown}${more}.`);
  }
  const why =
    rights.outcome === "missing" ? "sudo is not installed" : `sudo grants user ${uid} nothing: ${rights.reason}`;
  if (needs.length === 0) return skipped("sudo", `${why}. Nothing on this node needs it.`);
  const hint = "Run as root, or grant the commands in /etc/sudoers.d (visudo -f /etc/sudoers.d/debvisor).";
  return warned("sudo", `${why}; ${needs.join(", ")} may need it.`, hint);
}

/** The commands in what `sudo -l` prints: the indented lines below "may run the following commands". */
export function parseSudoList(output: string): string[] {
  const lines = output.split("\n");
  const start = lines.findIndex((line) => /may run the following commands/.test(line));
  if (start === -1) return [];
  const listed = lines.slice(start + 1);
  const end = listed.findIndex((line) => !/^\s+\S/.test(line));
  return (end === -1 ? listed : listed.slice(0, end)).map((line) => line.trim());
}
