// SPDX-License-Identifier: Apache-2.0
/** Whether owners and modes of files are what they should be, and whether configuration files parse. */
import type { HealthCheck } from "@debvisor/proto-events/node-agent";
import { findingsOf } from "./findings.ts";

/** A file or folder as lstat(2) describes it. `mode` holds the permission bits only. */
export interface FileEntry {
  readonly path: string;
  readonly kind: "file" | "folder" | "other";
  readonly uid: number;
  readonly mode: number;
}

/** Where a file is wrong; line from 1, `key` is the nearest key before it. */
export interface SyntaxFault {
  readonly line: number;
  readonly key: string | undefined;
  readonly problem: string;
}

/** What reading a configuration file gave. */
export type ConfigReading = { readonly path: string } & (
  | { readonly outcome: "valid" }
  | { readonly outcome: "faulty"; readonly fault: SyntaxFault }
  | { readonly outcome: "unreadable"; readonly reason: string }
);

const { passed, failed, skipped, warned } = findingsOf("permissions");
const configuration = findingsOf("configuration");
const SHOWN = 5;

/** Files that hold a private key or a credential, by name. */
export function isSecretFile(path: string): boolean {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (name.endsWith(".pub")) return false;
  return /^(id_[\w-]+|.*\.(key|nk|seed|creds|jwt|token)|.*_key|.*secret.*|context\.json)$/i.test(name);
}

/** Private SSH keys among the files of an `.ssh` folder; public keys and ssh's other files are none. */
export function isSshKey(path: string): boolean {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return !name.endsWith(".pub") && /^(id_[\w-]+|.*_key|.*\.(pem|key))$/.test(name);
}

/** Our own files: owned by us or root, not writable by others, secrets readable by the owner alone. */
export function stateFilesCheck(folder: string, entries: readonly FileEntry[] | undefined, uid: number): HealthCheck {
  const name = "state-files";
  if (entries === undefined) return failed(name, `${folder} cannot be listed.`, `Check owner and mode: stat ${folder}`);
  const foreign = entries.filter((entry) => entry.uid !== uid && entry.uid !== 0);
  if (foreign.length > 0) {
    return failed(
      name,
      `Owned by somebody else: ${listOf(foreign)}.`,
      `chown -R --no-dereference $(id -nu ${uid}) ${folder}`,
    );
  }
  const open = entries.filter(({ kind, mode }) => kind !== "other" && (mode & 0o002) !== 0);
  if (open.length > 0) return failed(name, `Writable by others: ${listOf(open)}.`, `chmod -R o-w ${folder}`);
  const readable = entries.filter(
    ({ path, kind, mode }) => kind === "file" && isSecretFile(path) && (mode & 0o077) !== 0,
  );
  if (readable.length > 0) {
    return failed(
      name,
      `Secrets that others may read: ${listOf(readable)}.`,
      "chmod 0600 the files named, and replace the secrets.",
    );
  }
  return passed(name, `${entries.length} files of this service have the right owner and mode.`);
}

/** Modes of private SSH keys: ssh refuses a key that others may read. Folders closed to this user are not looked into. */
export function sshKeysCheck(entries: readonly FileEntry[]): HealthCheck {
  const keys = entries.filter(({ path, kind }) => kind === "file" && isSshKey(path));
  if (keys.length === 0) return skipped("ssh-keys", "No private SSH key is visible to this service's user.");
  const open = keys.filter(({ mode }) => (mode & 0o077) !== 0);
  if (open.length === 0) return passed("ssh-keys", `${keys.length} private SSH keys have mode 0600 or stricter.`);
  return failed("ssh-keys", `Private SSH keys that others may read: ${listOf(open)}.`, "chmod 0600 the files named.");
}

/** Which user the service runs as; only tools that change the host need root. */
export function userCheck(uid: number, needs: ReadonlySet<string>): HealthCheck {
  if (uid === 0) return passed("user", "The service runs as root.");
  const privileged = ["ceph", "zfs", "virsh", "rauc"].filter((tool) => needs.has(tool));
  if (privileged.length === 0) return passed("user", `The service runs as user ${uid}; nothing here needs more.`);
  const hint = "Give the unit the groups and capabilities that the README of the service names.";
  return warned("user", `The service runs as user ${uid}; ${privileged.join(", ")} may need more rights.`, hint);
}

/** One check per configuration file; a fault is named by file, line and key. */
export function configurationChecks(readings: readonly ConfigReading[]): HealthCheck[] {
  if (readings.length === 0) return [configuration.skipped("files", "There is no configuration file.")];
  return readings.map((reading) => {
    const { path } = reading;
    if (reading.outcome === "valid") return configuration.passed(path, `${path} is valid.`);
    if (reading.outcome === "unreadable") {
      return configuration.failed(
        path,
        `${path} cannot be read: ${reading.reason}.`,
        `Check owner and mode: stat ${path}`,
      );
    }
    const { line, key, problem } = reading.fault;
    const near = key === undefined ? "" : `, key ${key}`;
    return configuration.failed(
      path,
      `${path}, line ${line}${near}: ${problem}.`,
      `Correct ${path}, then run the check again.`,
    );
  });
}

function listOf(entries: readonly FileEntry[]): string {
  const shown = entries
    .slice(0, SHOWN)
    .map(({ path, mode, uid }) => `${path} (mode ${mode.toString(8).padStart(4, "0")}, user ${uid})`);
  return entries.length > SHOWN ? `${shown.join(", ")} and ${entries.length - SHOWN} more` : shown.join(", ");
}
