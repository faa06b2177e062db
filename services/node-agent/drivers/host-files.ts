// SPDX-License-Identifier: Apache-2.0
/**
 * Files below the host's root (DESIGN.md 8a). In the local cluster the root is a folder; symbolic links that lead out of
 * it are refused, so that no check reads the machine's own files by way of a link.
 */
import { randomBytes } from "node:crypto";
import { constants, type Dirent } from "node:fs";
import { access, lstat, open, readdir, readFile, realpath, rm, stat } from "node:fs/promises";
import { join, normalize, sep } from "node:path";
import type { FileEntry } from "../model/file-checks.ts";

/** A text, or why it could not be read: an errno code, `outside`, or `too large`. */
export type TextReading = { readonly text: string } | { readonly reason: string };

/** Access to files of one host. All paths are absolute as the host sees them. */
export interface HostFiles {
  /** Path on this machine; undefined when a link leads out of the root. A path that does not exist resolves as written. */
  resolve(path: string): Promise<string | undefined>;
  exists(path: string): Promise<boolean>;
  read(path: string, maxBytes: number): Promise<TextReading>;
  /** Names in a folder, sorted; undefined when it is missing or closed to this user. */
  list(path: string): Promise<readonly string[] | undefined>;
}

/** Makes the access for a root: `/`, or the folder of a node of the local cluster. */
export function createHostFiles(root: string): HostFiles {
  const resolve = async (path: string): Promise<string | undefined> => {
    const written = join(root, normalize(`/${path}`));
    try {
      const [base, actual] = await Promise.all([realpath(root), realpath(written)]);
      return actual === base || actual.startsWith(base.endsWith(sep) ? base : base + sep) ? actual : undefined;
    } catch {
      return written;
    }
  };
  const within = async <T>(path: string, use: (actual: string) => Promise<T>): Promise<T | undefined> => {
    const actual = await resolve(path);
    return actual === undefined ? undefined : await use(actual);
  };
  return {
    resolve,
    exists: async (path) => (await within(path, isThere)) ?? false,
    read: async (path, maxBytes) =>
      (await within(path, (actual) => readText(actual, maxBytes))) ?? { reason: "outside" },
    list: async (path) =>
      await within(path, (actual) =>
        readdir(actual).then(
          (names) => names.sort(),
          () => undefined,
        ),
      ),
  };
}

/**
 * The entries below a folder of this machine, with the folder itself, at most `limit` and `depth` levels deep. Undefined
 * when the folder cannot be listed; entries that vanish meanwhile are left out. Links are not followed.
 */
export async function walk(folder: string, depth: number, limit: number): Promise<FileEntry[] | undefined> {
  const found: FileEntry[] = [];
  const visit = async (path: string, level: number): Promise<boolean> => {
    const entry = await describe(path);
    if (entry === undefined) return false;
    found.push(entry);
    if (entry.kind !== "folder" || level >= depth) return true;
    const children: Dirent[] | undefined = await readdir(path, { withFileTypes: true }).catch(() => undefined);
    for (const child of children ?? []) {
      if (found.length >= limit) break;
      await visit(join(path, child.name), level + 1);
    }
    return children !== undefined;
  };
  return (await visit(folder, 0)) ? found : undefined;
}

/** Writes, syncs and removes a file in a folder of this machine; undefined when that worked, else the errno code. */
export async function tryWriting(folder: string): Promise<string | undefined> {
  const path = join(folder, `.write-test-${randomBytes(6).toString("hex")}`);
  try {
    const file = await open(path, "wx", 0o600);
    try {
      await file.writeFile("DebVisor health check\n");
      await file.sync();
    } finally {
      await file.close();
    }
    return undefined;
  } catch (error) {
    return codeOf(error);
  } finally {
    await rm(path, { force: true }).catch(() => undefined);
  }
}

async function isThere(path: string): Promise<boolean> {
  return await access(path, constants.F_OK).then(
    () => true,
    () => false,
  );
}

async function readText(path: string, maxBytes: number): Promise<TextReading> {
  try {
    const { size } = await stat(path);
    return size > maxBytes ? { reason: "too large" } : { text: await readFile(path, "utf8") };
  } catch (error) {
    return { reason: codeOf(error) };
  }
}

/** One entry of this machine; undefined when it is missing or hidden from this user. Links are not followed. */
export async function describe(path: string): Promise<FileEntry | undefined> {
  try {
    const info = await lstat(path);
    const kind = info.isFile() ? "file" : info.isDirectory() ? "folder" : "other";
    return { path, kind, uid: info.uid, mode: info.mode & 0o7777 };
  } catch {
    return undefined;
  }
}

function codeOf(error: unknown): string {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return code ?? String(error);
}
