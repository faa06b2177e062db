// SPDX-License-Identifier: Apache-2.0
/**
 * Checks that many parts need before they begin (REQUIREMENTS X-22): a program, a variable, a right, a file is there; a
 * text is an address range, a pool name, a host name. The first kind throws with what to do, the second never throws.
 */
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import type { Environment } from "./config.ts";
import { DvError } from "./errors.ts";
import { which } from "./exec.ts";

/** Absolute path of a program that must be there. @throws TOOL_MISSING */
export async function requireBinary(name: string): Promise<string> {
  const path = await which(name);
  if (path === undefined)
    throw new DvError("TOOL_MISSING", `${name} is not installed.`, { details: { program: name } });
  return path;
}

/** Value of an environment variable that must be set and not empty. @throws CONFIG_INVALID */
export function requireEnv(env: Environment, name: string): string {
  const value = env[name];
  if (value === undefined || value === "") {
    throw new DvError("CONFIG_INVALID", `The environment variable ${name} must be set.`, {
      details: { source: "environment", key: name },
    });
  }
  return value;
}

/** Refuses anybody but root. @throws PERMISSION_DENIED */
export function requireRoot(what: string, uid: number = process.getuid?.() ?? 0): void {
  if (uid !== 0)
    throw new DvError("PERMISSION_DENIED", `${what} needs root; this is user ${uid}.`, { details: { uid } });
}

/** Text of a file that must exist and be readable. @throws NOT_FOUND, PERMISSION_DENIED, CONFIG_INVALID */
export async function requireFile(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? "unknown cause";
    const details = { path, reason };
    if (reason === "ENOENT" || reason === "ENOTDIR") {
      throw new DvError("NOT_FOUND", `The file ${path} does not exist.`, { details, cause });
    }
    const code = reason === "EACCES" || reason === "EPERM" ? "PERMISSION_DENIED" : "CONFIG_INVALID";
    throw new DvError(code, `The file ${path} cannot be read (${reason}).`, { details, cause });
  }
}

/** An address with the length of its network part. */
export interface Cidr {
  readonly family: 4 | 6;
  readonly address: string;
  readonly prefix: number;
}

/**
 * Reads `192.0.2.0/24` or `2001:db8::/32`. Octets are decimal without leading zeros (some programs read those as octal), at
 * most 255; the prefix is at most 32 or 128. Zones (`%eth0`) are refused. Undefined for anything else.
 */
export function parseCidr(text: string): Cidr | undefined {
  const [, address = "", length = ""] = /^([^/%]+)\/(0|[1-9]\d{0,2})$/.exec(text) ?? [];
  const family = isIP(address);
  const prefix = Number(length);
  if (family !== 4 && family !== 6) return undefined;
  return prefix <= (family === 4 ? 32 : 128) ? { family, address, prefix } : undefined;
}

const MAX_HOST_NAME = 253;
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i;

/**
 * True for a host name (RFC 1123 §2.1): labels of letters, digits and inner dashes, at most 63 characters each and 253
 * together. The last label is not all digits, because that would be an address. A trailing dot is refused.
 */
export function isHostName(text: string): boolean {
  const labels = text.split(".");
  return (
    text.length <= MAX_HOST_NAME && labels.every((label) => LABEL.test(label)) && !/^\d+$/.test(labels.at(-1) ?? "")
  );
}

/** True for a host name or an IP address: what a program can connect to. */
export function isHost(text: string): boolean {
  return isHostName(text) || isIP(text) !== 0;
}

/** The first label of a name made into a legal one: small letters, at most 63; `host` when nothing is left. */
export function hostLabelOf(name: string): string {
  const [label = ""] = name.toLowerCase().split(".", 1);
  return (
    label
      .replaceAll(/[^a-z0-9-]/g, "-")
      .slice(0, 63)
      .replaceAll(/^-+|-+$/g, "") || "host"
  );
}

/** Names that zpool(8) keeps for itself, alone or as a beginning. */
const RESERVED_POOLS = /^(mirror|raidz|draid|spare)|^(log|special|dedup|cache)$|^c\d/;

/** True for a pool name that both zpool(8) and ceph accept: begins with a letter, then letters, digits, `_`, `.`, `-`. */
export function isPoolName(text: string): boolean {
  return /^[A-Za-z][\w.-]{0,254}$/.test(text) && !RESERVED_POOLS.test(text);
}
