// SPDX-License-Identifier: Apache-2.0
/** How a file in an open folder is: its metadata and the digest of its content, read through one descriptor. */
import { createHash } from "node:crypto";
import { type BigIntStats, constants } from "node:fs";
import { type FileHandle, lstat, open } from "node:fs/promises";
import { type FileState, formatMode } from "../../model/file-step.ts";
import type { Accounts } from "./accounts.ts";
import { type OpenFolder, refused, systemError } from "./folder.ts";

/** A larger file is none that operations are for; reading it would hold up everything behind it. */
const MAX_STATE_BYTES = 64 * 1024 * 1024;
const CHUNK_BYTES = 256 * 1024;

/** A file that is there. */
export interface FoundFile {
  readonly state: NonNullable<FileState>;
  readonly info: BigIntStats;
  /** The content when it is at most as long as the caller wanted to keep. */
  readonly content: Uint8Array | undefined;
}

/** Looks at a file; undefined when there is none. @throws PATH_REFUSED for anything else than a regular file, TOOL_FAILED */
export async function lookAt(
  folder: OpenFolder,
  name: string,
  path: string,
  accounts: Accounts,
  keepBytes = 0,
): Promise<FoundFile | undefined> {
  const handle = await openRegular(folder.at(name), path);
  if (!handle) return undefined;
  try {
    const info = await handle.stat({ bigint: true });
    if (!info.isFile()) throw refused(path, "it is no regular file");
    if (info.size > MAX_STATE_BYTES) throw refused(path, "it is larger than 64 MiB");
    const { sha256, size, content } = await digest(handle, path, keepBytes);
    const state = {
      sha256,
      sizeBytes: size,
      mode: formatMode(Number(info.mode)),
      owner: accounts.userName(Number(info.uid)),
      group: accounts.groupName(Number(info.gid)),
    };
    return { state, info, content };
  } catch (error) {
    throw systemError(path, error);
  } finally {
    await handle.close();
  }
}

/* Looked at before it is opened: opening a device may have an effect. What is swapped in between is opened harmlessly. */
async function openRegular(file: string, path: string): Promise<FileHandle | undefined> {
  try {
    const info = await lstat(file);
    if (info.isSymbolicLink()) throw refused(path, "it is a link");
    if (!info.isFile()) throw refused(path, "it is no regular file");
    return await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT") return undefined;
    if (code === "ELOOP") throw refused(path, "it is a link");
    throw systemError(path, error);
  }
}

async function digest(handle: FileHandle, path: string, keepBytes: number) {
  const hash = createHash("sha256");
  const kept: Buffer[] = [];
  let size = 0;
  for (;;) {
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES, size);
    if (bytesRead === 0) break;
    const chunk = buffer.subarray(0, bytesRead);
    size += bytesRead;
    if (size > MAX_STATE_BYTES) throw refused(path, "it grows while it is read");
    hash.update(chunk);
    if (size <= keepBytes) kept.push(chunk);
  }
  return { sha256: hash.digest("hex"), size, content: size <= keepBytes ? Buffer.concat(kept) : undefined };
}
