// SPDX-License-Identifier: Apache-2.0
/** Puts files into an open folder: whole or not at all, also after a loss of power. */
import { constants } from "node:fs";
import { type FileHandle, link, lstat, open, readdir, rename, unlink } from "node:fs/promises";
import { backupsToPrune } from "../../model/file-step.ts";
import type { OpenFolder } from "./folder.ts";
import type { FoundFile } from "./reading.ts";

/** Everything about a file that is not its content. */
export interface FileAttributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Writes content under the draft's name, then moves it to its own. */
export async function place(
  folder: OpenFolder,
  name: string,
  draft: string,
  content: Uint8Array,
  attributes: FileAttributes,
): Promise<void> {
  await writeDraft(folder, draft, attributes, (handle) => handle.writeFile(content));
  await rename(folder.at(draft), folder.at(name));
}

/**
 * Keeps a file under the name of its backup: a second name of it where that is possible, so that there is no moment without
 * one and the very same file can be put back; else a copy. A file with other names already may be written through those.
 * False when the file was replaced since it was found; then nothing is kept.
 */
export async function keep(
  folder: OpenFolder,
  name: string,
  found: FoundFile,
  backup: string,
  draft: string,
): Promise<boolean> {
  await removeIfThere(folder, backup);
  const { ino } = found.info;
  const now = await lstat(folder.at(name), { bigint: true });
  if (now.ino !== ino) return false;
  if (now.nlink === 1n && (await linked(folder, name, backup))) {
    if ((await lstat(folder.at(backup), { bigint: true })).ino === ino) return true;
    await unlink(folder.at(backup));
    return false;
  }
  return await copied(folder, name, found, backup, draft);
}

/** Removes the backups of a file that are too many. What cannot be removed stays; the next write tries again. */
export async function prune(folder: OpenFolder, name: string, own: string | null): Promise<void> {
  const names = await readdir(folder.at("."), { encoding: "latin1" });
  for (const old of backupsToPrune(names, name, own)) {
    const file = Buffer.concat([Buffer.from(folder.at("")), Buffer.from(old, "latin1")]);
    const info = await lstat(file).catch(() => undefined);
    if (info?.isFile()) await unlink(file).catch(() => undefined);
  }
}

/** Removes a name; true when it was there. */
export async function removeIfThere(folder: OpenFolder, name: string): Promise<boolean> {
  try {
    await unlink(folder.at(name));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

async function copied(
  folder: OpenFolder,
  name: string,
  { info }: FoundFile,
  backup: string,
  draft: string,
): Promise<boolean> {
  const source = await open(folder.at(name), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if ((await source.stat({ bigint: true })).ino !== info.ino) return false;
    const attributes = { mode: Number(info.mode & 0o7777n), uid: Number(info.uid), gid: Number(info.gid) };
    await writeDraft(folder, draft, attributes, async (handle) => {
      await handle.writeFile(source.createReadStream({ autoClose: false, start: 0 }));
      await handle.utimes(info.atime, info.mtime);
    });
    await rename(folder.at(draft), folder.at(backup));
    return true;
  } finally {
    await source.close();
  }
}

async function linked(folder: OpenFolder, name: string, backup: string): Promise<boolean> {
  try {
    await link(folder.at(name), folder.at(backup));
    return true;
  } catch (error) {
    // No links on this file system, or none for this user (fs.protected_hardlinks).
    if (["EPERM", "EACCES", "EMLINK", "ENOTSUP", "EOPNOTSUPP", "EXDEV"].includes(codeOf(error))) return false;
    throw error;
  }
}

/* A draft that an attempt before left behind is ours and goes; anything else under that name is made anew, never followed. */
async function writeDraft(
  folder: OpenFolder,
  draft: string,
  { mode, uid, gid }: FileAttributes,
  write: (handle: FileHandle) => Promise<void>,
): Promise<void> {
  await removeIfThere(folder, draft);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const handle = await open(folder.at(draft), flags, 0o600);
  try {
    await write(handle);
    // Changing the owner takes away the bits for running as that owner, so the mode comes second.
    const now = await handle.stat();
    if (now.uid !== uid || now.gid !== gid) await handle.chown(uid, gid);
    await handle.chmod(mode);
    await handle.sync();
  } catch (error) {
    await removeIfThere(folder, draft).catch(() => false);
    throw error;
  } finally {
    await handle.close();
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "";
}
