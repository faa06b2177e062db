// SPDX-License-Identifier: Apache-2.0
/**
 * Opens the folder of a path below the host's root such that nothing can be put in its place afterwards: component by
 * component, each from the open one before, never through a link. What is done to a file is then done through the folder's
 * descriptor (`/proc/self/fd/N/name`, which is what openat(2) is for), so that renaming folders or swapping links meanwhile
 * leads nowhere else. Checked with Linux 6.1 and 6.18.
 */
import { constants } from "node:fs";
import { type FileHandle, open, realpath, statfs } from "node:fs/promises";
import { DvError } from "@debvisor/shared/errors";
import { LONGEST_NAME } from "../../model/file-step.ts";

/** File systems whose files are the kernel's: proc, sysfs, cgroup2, cgroup, debugfs, tracefs, securityfs, efivarfs. */
const KERNEL_TYPES = new Set([
  0x9fa0, 0x62656572, 0x63677270, 0x27e0eb, 0x64626720, 0x74726163, 0x73636673, 0xde5e81e4,
]);

/** What is passed through on the way; needs no right to list it. O_PATH is not among Node's constants. */
const PASS = 0o10000000 | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const USE = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** An open folder and the name that is meant in it. */
export interface OpenFolder extends AsyncDisposable {
  readonly handle: FileHandle;
  readonly name: string;
  /** Path of a name in the folder, through its descriptor. */
  at(name: string): string;
}

/** Root of the host, and the folder of this node's own state, which no operation may touch. */
export interface HostRoot {
  readonly root: string;
  readonly ownDir: string;
}

/** Opens the folder that holds `path`. @throws PATH_REFUSED, TOOL_FAILED */
export async function openFolder({ root, ownDir }: HostRoot, path: string): Promise<OpenFolder> {
  const components = componentsOf(path);
  const name = components.pop() ?? "";
  const own = await identityOf(ownDir);
  const start = await startOf(root, components, path);
  let handle = await openOne(start.from, start.names.length > 0 ? PASS : USE, path);
  try {
    for (const [index, component] of start.names.entries()) {
      const last = index === start.names.length - 1;
      const next = await openOne(`/proc/self/fd/${handle.fd}/${component}`, last ? USE : PASS, path);
      await handle.close();
      handle = next;
      const { dev, ino } = await handle.stat({ bigint: true });
      if (own === `${dev}:${ino}`) throw refused(path, "it is in the folder of DebVisor's own state");
    }
    const { type } = await statfs(`/proc/self/fd/${handle.fd}/`);
    if (KERNEL_TYPES.has(type)) throw refused(path, "it is a file of the kernel");
  } catch (error) {
    await handle.close();
    throw error;
  }
  const opened = handle;
  return {
    handle: opened,
    name,
    at: (other) => `/proc/self/fd/${opened.fd}/${other}`,
    [Symbol.asyncDispose]: () => opened.close(),
  };
}

/** The error of a path that operations may not touch. */
export function refused(path: string, why: string): DvError {
  return new DvError("PATH_REFUSED", `${path} cannot be touched: ${why}.`, { details: { path } });
}

/** An error of the system about a path, as one of the catalogue. */
export function systemError(path: string, error: unknown): unknown {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  if (error instanceof DvError || code === undefined) return error;
  const meaning = MEANINGS[code] ?? code;
  return new DvError("TOOL_FAILED", `${path}: ${meaning}.`, { details: { path, cause: code }, cause: error });
}

const MEANINGS: Readonly<Record<string, string>> = {
  EACCES: "the node agent's user may not do that",
  EPERM: "the node agent's user may not do that",
  EROFS: "the file system is read-only",
  ENOSPC: "the file system is full",
  EDQUOT: "the quota is used up",
  EIO: "the disk reports an error",
};

/* In a folder that stands for a root no link is followed at all; on a real root those of the system are (/var/run). */
async function startOf(root: string, components: readonly string[], path: string) {
  if (root !== "/") return { from: await realpath(root), names: components };
  const folder = `/${components.join("/")}`;
  try {
    return { from: "/", names: (await realpath(folder)).split("/").filter(Boolean) };
  } catch (error) {
    throw folderError(path, error);
  }
}

async function openOne(folder: string, flags: number, path: string): Promise<FileHandle> {
  try {
    return await open(folder, flags);
  } catch (error) {
    throw folderError(path, error);
  }
}

function folderError(path: string, error: unknown): unknown {
  switch ((error as NodeJS.ErrnoException).code) {
    case "ENOENT":
      return refused(path, "its folder does not exist");
    case "ENOTDIR":
    case "ELOOP":
      return refused(path, "on the way to it is a link, or something that is no folder");
    default:
      return systemError(path, error);
  }
}

function componentsOf(path: string): string[] {
  const [first, ...components] = path.split("/");
  if (first !== "" || components.length === 0) throw refused(path, "it is not absolute");
  if (!path.isWellFormed() || path.includes("\0")) throw refused(path, "it is no valid text");
  if (components.some((component) => ["", ".", ".."].includes(component)))
    throw refused(path, "it has empty parts, . or ..");
  if (Buffer.byteLength(components.at(-1) ?? "") > LONGEST_NAME)
    throw refused(path, `its name is longer than ${LONGEST_NAME} bytes`);
  return components;
}

async function identityOf(folder: string): Promise<string | undefined> {
  try {
    const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      const { dev, ino } = await handle.stat({ bigint: true });
      return `${dev}:${ino}`;
    } finally {
      await handle.close();
    }
  } catch {
    // A node without a folder of its own has nothing to protect.
    return undefined;
  }
}
