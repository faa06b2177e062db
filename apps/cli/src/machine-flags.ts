// SPDX-License-Identifier: Apache-2.0
/** Flags of the commands that set up the machine they are typed on. They need no cluster, only the right to write its files. */
import { lchownSync, lstatSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { isIP } from "node:net";
import { join, resolve } from "node:path";
import { NodeName } from "@debvisor/proto-events/primitives";
import { DvError } from "@debvisor/shared/errors";
import { MachinePorts } from "@debvisor/shared/join/preseed";
import { z } from "zod";
import { usage } from "./argv.ts";
import type { Call } from "./command.ts";
import { confirm } from "./confirm.ts";

/** What it takes to be allowed. */
export const MACHINE_PRIVILEGE = "The right to write the node's files (root), on this machine only.";

/** Folder with the node's files. */
export const nodeDirFlag = z.string().min(1).default("/var/lib/debvisor").describe("Folder with the node's files.");

/** Folder with what is configured. */
export const etcFlag = z.string().min(1).default("/etc/debvisor").describe("Folder with the context file.");

/** Flags about where this machine's parts listen, and its name. */
export const machineFlags = {
  name: NodeName.optional().describe("Name of this machine; default: its host name."),
  listen: z
    .string()
    .refine((text) => isIP(text) !== 0, "an IPv4 or IPv6 address")
    .optional()
    .describe("Address of this machine that the others reach; default: its first that is not internal."),
  ports: z
    .array(z.string().regex(/^[a-z]+=\d{1,5}(?:\/\d{1,5}){0,2}$/, "such as bus=4322, or helper=4323/6323/8323"))
    .default([])
    .describe(
      "Ports other than the usual ones: bus=4222, cluster=6222, monitor=8222, helper=4223/6223/8223, join=8422, gateway=8420.",
    ),
};

/** The ports as given, the usual ones otherwise. @throws INVALID_ARGUMENT */
export function portsOf(words: readonly string[]): MachinePorts {
  const given = words.map((word) => {
    const [name = "", value = ""] = word.split("=");
    const numbers = value.split("/").map(Number);
    return [name, name === "helper" ? numbers : (numbers[0] ?? 0)] as const;
  });
  const parsed = MachinePorts.safeParse(Object.fromEntries(given));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw usage(`--ports: ${issue?.path.join(".") || "bus, cluster, monitor, helper, join, gateway"}: ${issue?.message}`);
}

/** Absolute path of a folder as it was typed. */
export function folderOf(path: unknown, { cwd }: Pick<Call, "cwd">): string {
  return resolve(cwd, String(path));
}

/**
 * Makes a folder unless it is there. Only its last part: a slip in a path must not grow a tree, and Node's recursive form loops for
 * ever below /proc (seen with 26.10). @throws INVALID_ARGUMENT
 */
export function ensureFolder(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST" && statSync(path).isDirectory()) return;
    const why = code === "ENOENT" ? "the folder above it does not exist" : code === "EEXIST" ? "it is no folder" : code;
    throw new DvError("INVALID_ARGUMENT", `${path} cannot be made: ${why}.`, { cause: error });
  }
}

/** Runs what writes files; without the right to, says so instead of calling it a bug. @throws PERMISSION_DENIED, INVALID_ARGUMENT */
export async function asOwner<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code, path } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR")
      throw new DvError("INVALID_ARGUMENT", `${path ?? "A file of the node"} cannot be written (${code}).`, {
        cause: error,
      });
    if (code !== "EACCES" && code !== "EPERM" && code !== "EROFS") throw error;
    throw new DvError("PERMISSION_DENIED", `${path ?? "A file of the node"} cannot be written (${code}).`, {
      cause: error,
      details: { hint: "Run the command as root." },
    });
  }
}

/** Does what destroys on the machine it is typed on, once that was agreed to. Returns the exit code. */
export async function agreed(
  call: Call,
  { title, changes, undo }: { readonly title: string; readonly changes: string; readonly undo: string },
  work: () => number | Promise<number>,
): Promise<number> {
  const targets = [String(call.given["id"])];
  const plan = { title, effect: "destroy" as const, targets, perNode: false, input: call.given, changes, undo };
  return (await confirm(plan, call)) ?? (await asOwner(work));
}

/** Gives what root wrote below a folder to whoever owns the folder: the services do not run as root. */
export function giveToOwner(dir: string): void {
  const { uid, gid } = statSync(dir);
  if (process.getuid?.() !== 0 || uid === 0) return;
  const give = (path: string) => {
    lchownSync(path, uid, gid);
    if (lstatSync(path).isDirectory()) for (const name of readdirSync(path)) give(join(path, name));
  };
  give(dir);
}
