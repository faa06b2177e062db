// SPDX-License-Identifier: Apache-2.0
/**
 * Makes folders. Node's `recursive: true` loops for ever where a folder cannot be made below one that exists and the system says
 * ENOENT, as in /proc (seen with 26.10); a slip in a path must not hang a command.
 */
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";

/** Makes a folder and those above it, as far as they are missing. @throws the system's error */
export function makeFolders(path: string, mode = 0o777): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EEXIST") return;
    if (code !== "ENOENT" || dirname(path) === path) throw error;
    makeFolders(dirname(path), mode);
    mkdirSync(path, { mode });
  }
}
