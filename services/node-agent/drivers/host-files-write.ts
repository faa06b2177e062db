// SPDX-License-Identifier: Apache-2.0
/**
 * Brings single files of the host into a state and back (DESIGN.md 8a): atomically, with a backup beside the file, never
 * through a link and never outside of the root. Every function can be repeated after it was cut short anywhere.
 */
import { createHash } from "node:crypto";
import { lstat, rename } from "node:fs/promises";
import process from "node:process";
import { DvError } from "@debvisor/shared/errors";
import {
  backupName,
  describeState,
  type FileState,
  type FileStep,
  formatMode,
  type StepStamp,
  sameState,
} from "../model/file-step.ts";
import { type Accounts, readAccounts } from "./host-files/accounts.ts";
import { type HostRoot, type OpenFolder, openFolder, systemError } from "./host-files/folder.ts";
import { keep, place, prune, removeIfThere } from "./host-files/place.ts";
import { lookAt } from "./host-files/reading.ts";

/** How a file shall be. Null attributes stay as they are, or become 0644 and the agent's own for a new file. */
export interface WantedFile {
  readonly content: Uint8Array;
  readonly mode: string | null;
  readonly owner: string | null;
  readonly group: string | null;
}

/** A file as it is, with its content if it is short. */
export interface FileReading {
  readonly state: FileState;
  /** Undefined when there is no file, or when it is longer than asked for. */
  readonly content: Uint8Array | undefined;
}

/** Access to single files of one host. Paths are absolute as the host sees them. All @throws PATH_REFUSED, TOOL_FAILED */
export interface HostFileWriter {
  /** How a file is. Its content comes along when it has at most `keepBytes`. */
  read(path: string, keepBytes?: number): Promise<FileReading>;
  /** How a file would be afterwards. @throws INVALID_ARGUMENT for an owner or group that the host does not have */
  predict(path: string, wanted: WantedFile | null): Promise<FileState>;
  /** What a change starts from and leads to. Changes nothing. @throws as `predict` */
  prepare(path: string, wanted: WantedFile | null, stamp: StepStamp): Promise<FileStep>;
  /** Makes the change. @throws CONFLICT when the file is neither as before nor as after the change */
  apply(step: FileStep, content: Uint8Array | undefined): Promise<void>;
  /** Makes it as it was before, without a trace of the step. @throws CONFLICT likewise, or when the backup is not there */
  undo(step: FileStep): Promise<void>;
}

/** Makes the access. Changes of one path are not to run beside each other; the caller sees to that. */
export function createHostFileWriter(host: HostRoot): HostFileWriter {
  const within = async <T>(path: string, use: (folder: OpenFolder, accounts: Accounts) => Promise<T>): Promise<T> => {
    const accounts = await readAccounts();
    try {
      await using folder = await openFolder(host, path);
      return await use(folder, accounts);
    } catch (error) {
      throw systemError(path, error);
    }
  };
  return {
    read: (path, keepBytes = 0) =>
      within(path, async (folder, accounts) => {
        const found = await lookAt(folder, folder.name, path, accounts, keepBytes);
        return { state: found?.state ?? null, content: found?.content };
      }),
    predict: (path, wanted) =>
      within(path, async (folder, accounts) => (await states(folder, accounts, path, wanted)).after),
    prepare: (path, wanted, stamp) =>
      within(path, async (folder, accounts) => {
        const { before, after } = await states(folder, accounts, path, wanted);
        const kept = before !== null && !sameState(before, after);
        const backup = kept ? await freeName(folder, backupName(folder.name, stamp)) : null;
        return { path, before, after, backup, draft: draftName(folder.name, stamp) };
      }),
    apply: (step, content) => within(step.path, (folder, accounts) => apply(folder, accounts, step, content)),
    undo: (step) => within(step.path, (folder, accounts) => undo(folder, accounts, step)),
  };
}

async function states(folder: OpenFolder, accounts: Accounts, path: string, wanted: WantedFile | null) {
  const before = (await lookAt(folder, folder.name, path, accounts))?.state ?? null;
  return { before, after: wanted && (await stateOf(wanted, before, folder, accounts)) };
}

async function apply(
  folder: OpenFolder,
  accounts: Accounts,
  step: FileStep,
  content: Uint8Array | undefined,
): Promise<void> {
  const { path, before, after, backup, draft } = step;
  if (sameState(before, after)) return;
  const found = await lookAt(folder, folder.name, path, accounts);
  const now = found?.state ?? null;
  // It is as it shall be when an attempt before this one got that far.
  if (sameState(now, after)) await removeIfThere(folder, draft);
  else {
    const unchanged = sameState(now, before);
    const kept = unchanged && (!found || backup === null || (await keep(folder, folder.name, found, backup, draft)));
    if (!kept) throw conflict(step, now);
    await change(folder, accounts, step, content);
  }
  await folder.handle.sync();
  await prune(folder, folder.name, backup);
}

async function change(
  folder: OpenFolder,
  accounts: Accounts,
  { path, after, draft }: FileStep,
  content: Uint8Array | undefined,
): Promise<void> {
  if (after === null) {
    await removeIfThere(folder, folder.name);
    return;
  }
  if (content === undefined || sha256(content) !== after.sha256)
    throw new DvError("CONFLICT", `The content for ${path} is not the one that this step began with.`);
  const attributes = {
    mode: Number.parseInt(after.mode, 8),
    uid: accounts.uid(after.owner),
    gid: accounts.gid(after.group),
  };
  await place(folder, folder.name, draft, content, attributes);
}

async function undo(folder: OpenFolder, accounts: Accounts, step: FileStep): Promise<void> {
  const { path, before, after, backup, draft } = step;
  if (sameState(before, after)) return;
  const now = (await lookAt(folder, folder.name, path, accounts))?.state ?? null;
  if (!sameState(now, before) && !sameState(now, after)) throw conflict(step, now);
  await removeIfThere(folder, draft);
  if (sameState(now, before)) {
    if (backup !== null) await removeIfThere(folder, backup);
  } else if (backup === null) await removeIfThere(folder, folder.name);
  else await putBack(folder, accounts, step, backup);
  await folder.handle.sync();
}

async function putBack(
  folder: OpenFolder,
  accounts: Accounts,
  { path, before }: FileStep,
  backup: string,
): Promise<void> {
  const saved = (await lookAt(folder, backup, path, accounts))?.state ?? null;
  if (!sameState(saved, before))
    throw new DvError("CONFLICT", `The backup ${backup} of ${path} is gone or was changed.`, {
      details: { path, backup, expected: describeState(before), found: describeState(saved) },
    });
  await rename(folder.at(backup), folder.at(folder.name));
}

function conflict({ path, before, after }: FileStep, now: FileState): DvError {
  const details = { path, now: describeState(now), before: describeState(before), after: describeState(after) };
  return new DvError(
    "CONFLICT",
    `Somebody else changed ${path}: it is ${details.now}, but should be ${details.before} or ${details.after}.`,
    { details },
  );
}

async function stateOf(
  wanted: WantedFile,
  before: FileState,
  folder: OpenFolder,
  accounts: Accounts,
): Promise<NonNullable<FileState>> {
  const inFolder = await folder.handle.stat();
  // In a folder with the set-group-id bit new files have the folder's group, whoever makes them.
  const ownGroup = (inFolder.mode & 0o2000) !== 0 ? inFolder.gid : (process.getegid?.() ?? 0);
  const owner = wanted.owner ?? before?.owner ?? String(process.geteuid?.() ?? 0);
  const group = wanted.group ?? before?.group ?? String(ownGroup);
  return {
    sha256: sha256(wanted.content),
    sizeBytes: wanted.content.length,
    mode: wanted.mode === null ? (before?.mode ?? "0644") : formatMode(Number.parseInt(wanted.mode, 8)),
    owner: accounts.userName(accounts.uid(owner)),
    group: accounts.groupName(accounts.gid(group)),
  };
}

/* A step that runs twice in one second of one operation must not overwrite what the first one kept. */
async function freeName(folder: OpenFolder, name: string): Promise<string> {
  for (let i = 1; ; i++) {
    const candidate = i === 1 ? name : `${name}-${i}`;
    const taken = await lstat(folder.at(candidate)).then(
      () => true,
      () => false,
    );
    if (!taken) return candidate;
  }
}

function draftName(file: string, { operation, step }: StepStamp): string {
  return `.dv-draft-${sha256(Buffer.from(JSON.stringify([operation, step, file]))).slice(0, 32)}`;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
