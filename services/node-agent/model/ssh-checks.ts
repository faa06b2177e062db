// SPDX-License-Identifier: Apache-2.0
/** SSH as the troubleshooting checks see it (REQUIREMENTS HC-18): keys are there, closed to others, and hosts answer. */
import type { HealthCheck } from "@debvisor/proto-events/node-agent";
import type { ProbeResult } from "./connectivity-checks.ts";
import { type FileEntry, listOf } from "./file-checks.ts";
import { findingsOf } from "./findings.ts";

/** What an SSH server says first (RFC 4253 §4.2); versions 1.99 and 2.0 speak the protocol of today. */
export const SSH_GREETING = /^SSH-(2\.0|1\.99)-/m;

/** Private keys of this host. */
export interface SshKeys {
  /** Entries of `.ssh` folders that this user may see. */
  readonly found: readonly FileEntry[];
  /** Keys that the configuration names; without an entry a key is missing. */
  readonly named: readonly { readonly path: string; readonly entry: FileEntry | undefined }[];
  /** How many hosts are to be reached with them. */
  readonly hosts: number;
}

const { passed, failed, skipped } = findingsOf("connectivity");

/** Private SSH keys among the files of an `.ssh` folder; public keys and ssh's other files are none. */
export function isSshKey(path: string): boolean {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return !name.endsWith(".pub") && /^(id_[\w-]+|.*_key|.*\.(pem|key))$/.test(name);
}

/** Presence and mode of private keys: ssh refuses a key that others may read. */
export function sshKeysCheck({ found, named, hosts }: SshKeys): HealthCheck {
  const missing = named.filter(({ entry }) => entry === undefined).map(({ path }) => path);
  if (missing.length > 0) {
    const hint = `Put the key there or correct sshKeys in node-agent.yaml; a new one: ssh-keygen -t ed25519 -f ${missing[0]}`;
    return failed("ssh-keys", `Missing or closed to this user: ${missing.join(", ")}.`, hint);
  }
  const candidates = [...named.flatMap(({ entry }) => entry ?? []), ...found.filter(({ path }) => isSshKey(path))];
  const keys = [...new Map(candidates.filter(({ kind }) => kind === "file").map((key) => [key.path, key])).values()];
  if (keys.length === 0) {
    if (hosts === 0) return skipped("ssh-keys", "No private SSH key is visible to this user, and sshHosts is empty.");
    const hint = "Make one: ssh-keygen -t ed25519; or name it in sshKeys of node-agent.yaml.";
    return failed("ssh-keys", "sshHosts names hosts, but no private SSH key is visible to this user.", hint);
  }
  const open = keys.filter(({ mode }) => (mode & 0o077) !== 0);
  if (open.length > 0) {
    return failed("ssh-keys", `Private SSH keys that others may read: ${listOf(open)}.`, "chmod 0600 the files named.");
  }
  return passed(
    "ssh-keys",
    `${keys.length} private SSH ${keys.length === 1 ? "key has" : "keys have"} mode 0600 or stricter.`,
  );
}

/** A host whose SSH server must answer. */
export function sshHostCheck(
  { host, port }: { readonly host: string; readonly port: number },
  { ms, reason }: ProbeResult,
): HealthCheck {
  const address = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  const name = `ssh:${address}`;
  if (reason === undefined) return passed(name, `An SSH server answers at ${address} in ${ms.toFixed(1)} ms.`);
  const hint = `Check that ${host} is up and sshd runs there (systemctl status ssh), and the firewalls between.`;
  return failed(name, `No SSH server answers at ${address}: ${reason}.`, hint);
}
