// SPDX-License-Identifier: Apache-2.0
/** What a change of a file is made of: how the file is and shall be, and the names of its backups. */
import type { FileState } from "@debvisor/proto-events/host";

export type { FileState } from "@debvisor/proto-events/host";

/** Backups of one file that are kept. */
export const BACKUPS_KEPT = 30;
/** Longest name of a file in bytes; a backup's name is 41 longer, and 255 is what file systems take. */
export const LONGEST_NAME = 200;

/** A change as it was found before its first effect; kept in the ledger. */
export interface FileStep {
  readonly path: string;
  readonly before: FileState;
  readonly after: FileState;
  /** Name of the backup beside the file; null when there is nothing to keep. */
  readonly backup: string | null;
  /** Name under which the new content is written first; the same at every attempt, so that none is left behind. */
  readonly draft: string;
}

/** What tells the attempts of one step from everything else. */
export interface StepStamp {
  readonly operation: string;
  readonly step: string;
  readonly timeMs: number;
}

/** True when both are the same file as far as anybody can tell from outside, or both are none. */
export function sameState(a: FileState, b: FileState): boolean {
  if (a === null || b === null) return a === b;
  return (
    a.sha256 === b.sha256 &&
    a.sizeBytes === b.sizeBytes &&
    a.mode === b.mode &&
    a.owner === b.owner &&
    a.group === b.group
  );
}

/** A state for people: `0644 root:root 12 bytes sha256 0a1b2c3d`, or `no file`. */
export function describeState(state: FileState): string {
  if (state === null) return "no file";
  return `${state.mode} ${state.owner}:${state.group} ${state.sizeBytes} bytes sha256 ${state.sha256.slice(0, 8)}`;
}

/** Four octal digits. */
export function formatMode(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, "0");
}

/** Name of a backup: `<file>.dv-backup-<YYYYMMDDThhmmssZ>-<end of the operation's id>`. */
export function backupName(file: string, { operation, timeMs }: StepStamp): string {
  const time = new Date(timeMs).toISOString().replace(/[-:]|\.\d+/g, "");
  return `${file}.dv-backup-${time}-${operation.slice(-13)}`;
}

/**
 * The backups of a file that are too many: all but the newest, of which `own` is always one. Names are bytes as latin1,
 * because a folder may hold names that are no UTF-8.
 */
export function backupsToPrune(names: readonly string[], file: string, own: string | null): string[] {
  const prefix = `${latin1(file)}.dv-backup-`;
  const backups = names
    .filter((name) => name.startsWith(prefix) && /^\d{8}T\d{6}Z-[a-z0-9-]{1,20}$/.test(name.slice(prefix.length)))
    .sort();
  const others = own === null ? backups : backups.filter((name) => name !== latin1(own));
  const kept = own === null ? BACKUPS_KEPT : BACKUPS_KEPT - 1;
  return others.slice(0, Math.max(0, others.length - kept));
}

function latin1(text: string): string {
  return Buffer.from(text).toString("latin1");
}
