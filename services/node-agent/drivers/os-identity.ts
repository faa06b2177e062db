// SPDX-License-Identifier: Apache-2.0
/** Files by which a Linux system identifies itself: os-release(5) and machine-id(5). */
import { readFile } from "node:fs/promises";
import { type OsRelease, parseOsRelease } from "../model/os-release.ts";

/** The system's name and version; /usr/lib/os-release where /etc has none. Never throws. */
export async function readOsRelease(): Promise<OsRelease> {
  return parseOsRelease((await text("/etc/os-release")) ?? (await text("/usr/lib/os-release")) ?? "");
}

/** Id of the installation; null where none was made yet (the file is empty, or says `uninitialized` during first boot). */
export async function readMachineId(): Promise<string | null> {
  const id = (await text("/etc/machine-id"))?.trim() ?? "";
  return /^[0-9a-f]{32}$/.test(id) ? id : null;
}

async function text(path: string): Promise<string | undefined> {
  return await readFile(path, "utf8").catch(() => undefined);
}
