// SPDX-License-Identifier: Apache-2.0
/** Keeps a copy of a server's data before a rescue changes it, for whoever has to look up later what it was. */
import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statfsSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { DvError } from "@debvisor/shared/errors";

const MIB = 1024 * 1024;

/** Copies a folder whole, on stable storage when it returns; does nothing when the copy is there. @throws RESCUE_REFUSED without room */
export function keepCopy(from: string, to: string): void {
  if (existsSync(to)) return;
  const draft = `${to}.part`;
  rmSync(draft, { recursive: true, force: true });
  const needed = sizeOf(from);
  const { bavail, bsize } = statfsSync(dirname(to));
  if (bavail * bsize < needed)
    throw new DvError(
      "RESCUE_REFUSED",
      `The copy of the data as it is needs ${Math.ceil(needed / MIB)} MiB in ${dirname(to)}.`,
    );
  copyTree(from, draft);
  renameSync(draft, to);
  sync(dirname(to));
}

function sizeOf(path: string): number {
  const stat = lstatSync(path);
  if (!stat.isDirectory()) return stat.size;
  return readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0);
}

function copyTree(from: string, to: string): void {
  mkdirSync(to, { mode: 0o700 });
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) copyTree(source, target);
    else if (entry.isFile()) {
      // Where the file system can share blocks, nothing is copied.
      copyFileSync(source, target, constants.COPYFILE_FICLONE);
      sync(target);
    }
  }
  sync(to);
}

function sync(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
