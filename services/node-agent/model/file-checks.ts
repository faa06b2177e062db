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

const { passed, failed } = findingsOf("permissions");
const configuration = findingsOf("configuration");
const SHOWN = 5;

/** Files that hold a private key, a credential or a password, by name. */
export function isSecretFile(path: string): boolean {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (name.endsWith(".pub")) return false;
  return /^(id_[\w-]+|.*\.(key|nk|seed|creds|jwt|token)|.*_key|.*secret.*|identity\.pem|(context|membership)\.json|preseed\.yaml)$/i.test(
    name,
  );
}

/** Our own files: owned by us or root, not writable by others, secrets readable by the owner alone. */
export function ownFilesCheck(
  name: "state-files" | "node-files" | "config-files",
  folder: string,
  entries: readonly FileEntry[] | undefined,
  uid: number,
): HealthCheck {
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
  return passed(name, `${entries.length} files and folders of ${folder} have the right owner and mode.`);
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

/** Files with owner and mode in one line; the first five, and how many more. */
export function listOf(entries: readonly FileEntry[]): string {
  const shown = entries
    .slice(0, SHOWN)
    .map(({ path, mode, uid }) => `${path} (mode ${mode.toString(8).padStart(4, "0")}, user ${uid})`);
  return entries.length > SHOWN ? `${shown.join(", ")} and ${entries.length - SHOWN} more` : shown.join(", ");
}
