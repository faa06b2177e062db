// SPDX-License-Identifier: Apache-2.0
/**
 * Room on mounted file systems. Local ones are asked by statfs(2) in this process. Network ones are asked by stat(1)
 * (coreutils 9.1): when their server is away the system call never returns and would keep a worker thread for good.
 */
import { constants } from "node:fs";
import { access, statfs } from "node:fs/promises";
import { exec } from "@debvisor/shared/exec";
import { isNetworkMount, type Mount, type Room } from "../model/mounts.ts";

const NETWORK_TIMEOUT_MS = 2_000;

/** Room on a mounted file system; undefined when it cannot be told or the server behind it does not answer. */
export async function roomOf(mount: Mount, signal?: AbortSignal): Promise<Room | undefined> {
  if (isNetworkMount(mount)) {
    const args = ["--file-system", "--format=%S %b %f %a %c %d", "--", mount.mount];
    const result = await exec("stat", args, { timeoutMs: NETWORK_TIMEOUT_MS, signal });
    return result.failed ? undefined : parseStat(result.stdout);
  }
  try {
    const { bsize, blocks, bfree, bavail, files, ffree } = await statfs(mount.mount);
    return roomFrom(bsize, blocks, bfree, bavail, files, ffree);
  } catch {
    // Unmounted meanwhile, or a folder that this user may not enter: not part of what we can speak about.
    return undefined;
  }
}

/** Whether this process may write to a mount point; undefined when the server behind it does not answer. */
export async function isWritable(mount: Mount, signal?: AbortSignal): Promise<boolean | undefined> {
  if (isNetworkMount(mount)) {
    const result = await exec("test", ["-w", mount.mount], { timeoutMs: NETWORK_TIMEOUT_MS, signal });
    return result.exitCode === undefined ? undefined : result.exitCode === 0;
  }
  return await access(mount.mount, constants.W_OK).then(
    () => true,
    () => false,
  );
}

/** Parses `stat --file-system --format="%S %b %f %a %c %d"`; undefined for anything else. */
export function parseStat(text: string): Room | undefined {
  const numbers = text.trim().split(/\s+/).map(Number);
  const [size, blocks, free, available, inodes, inodesFree] = numbers;
  if (numbers.length !== 6 || numbers.some((value) => !Number.isFinite(value) || value < 0)) return undefined;
  return roomFrom(size ?? 0, blocks ?? 0, free ?? 0, available ?? 0, inodes ?? 0, inodesFree ?? 0);
}

function roomFrom(
  size: number,
  blocks: number,
  free: number,
  available: number,
  inodes: number,
  inodesFree: number,
): Room {
  return {
    sizeBytes: size * blocks,
    freeBytes: size * available,
    usedBytes: size * (blocks - free),
    inodes,
    inodesFree,
  };
}
