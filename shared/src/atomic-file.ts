// SPDX-License-Identifier: Apache-2.0
/** Writes a file so that a reader, or a machine that lost power, sees the old content or the new one, never a part. */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** Writes beside the file, syncs, renames, syncs the folder. The mode is that of a new file. */
export function writeFileAtomic(file: string, content: string | Uint8Array, mode: number): void {
  const folder = dirname(file);
  const draft = join(folder, `.${basename(file)}.${process.pid}.tmp`);
  try {
    withFile(draft, "w", mode, (fd) => {
      const bytes = typeof content === "string" ? Buffer.from(content) : content;
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      fsyncSync(fd);
    });
    renameSync(draft, file);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
  withFile(folder, "r", 0, fsyncSync);
}

function withFile(path: string, flags: string, mode: number, use: (fd: number) => void): void {
  const fd = openSync(path, flags, mode);
  try {
    use(fd);
  } finally {
    closeSync(fd);
  }
}
