// SPDX-License-Identifier: Apache-2.0
/**
 * The BIND of this host: its file of keys, and `rndc reconfig` (bind9 9.18), by which it reads that file. The file is replaced as a whole
 * (0640, with owner and group of its folder, so that named can read it). What BIND refuses is put back as it was.
 */
import { hash } from "node:crypto";
import { access } from "node:fs/promises";
import { join } from "node:path";
import type { KeysFile, KeysHeld } from "@debvisor/proto-events/nameserver";
import { toDvError } from "@debvisor/shared/errors";
import { exec, execChecked, execError } from "@debvisor/shared/exec";
import { readAccounts } from "../drivers/host-files/accounts.ts";
import { type HostRoot, openFolder, systemError } from "../drivers/host-files/folder.ts";
import { place, removeIfThere } from "../drivers/host-files/place.ts";
import { lookAt } from "../drivers/host-files/reading.ts";
import { keysIn, renderKeysFile } from "../model/keys-file.ts";

/** Where the file is and how its reader is told; only the node's own configuration says so. */
export interface NameserverOptions extends HostRoot {
  readonly file: string;
  /** The program and its arguments, to which `reconfig` or `status` is added. */
  readonly rndc: readonly string[];
  /** The configuration that `named-checkconf` looks at, where both exist. */
  readonly config: string;
}

/** Access to the file of keys. All @throws PATH_REFUSED, TOOL_FAILED */
export interface Nameserver {
  /** What the file holds, and whether its reader can be told of changes. */
  look(signal?: AbortSignal): Promise<KeysHeld>;
  /** Writes the file and has it read; also when it is as it shall be, since it may not have been read. @throws TOOL_MISSING */
  set(wanted: KeysFile, signal?: AbortSignal): Promise<KeysHeld>;
}

const MAX_BYTES = 64 * 1024;
const MODE = 0o640;
const STATUS_MS = 3_000;
const RECONFIG_MS = 10_000;
const DRAFT = ".dv-draft-keys";

/** Makes the access. Touches nothing. */
export function createNameserver(options: NameserverOptions): Nameserver {
  return {
    look: async (signal) => await held(options, await read(options), signal),
    set: async (wanted, signal) => {
      const before = await read(options);
      const secrets = wanted.keys.map(({ secret }) => secret);
      await write(options, renderKeysFile(wanted));
      try {
        await check(options, secrets, signal);
        await reconfigure(options, secrets, signal);
      } catch (error) {
        await write(options, before?.text);
        // As far as it can be told: what it read is what it keeps when this fails as well.
        await reconfigure(options, secrets).catch(() => undefined);
        throw error;
      }
      return await held(options, await read(options), signal);
    },
  };
}

interface Reading {
  readonly text: string;
  readonly mode: string;
}

async function read(options: NameserverOptions): Promise<Reading | undefined> {
  const accounts = await readAccounts();
  await using folder = await openFolder(options, options.file);
  const found = await lookAt(folder, folder.name, options.file, accounts, MAX_BYTES);
  return found && { text: Buffer.from(found.content ?? []).toString("utf8"), mode: found.state.mode };
}

async function write(options: NameserverOptions, text: string | undefined): Promise<void> {
  try {
    await using folder = await openFolder(options, options.file);
    if (text === undefined) await removeIfThere(folder, folder.name);
    else {
      const { uid, gid } = await folder.handle.stat();
      await place(folder, folder.name, DRAFT, Buffer.from(text), { mode: MODE, uid, gid });
    }
    await folder.handle.sync();
  } catch (error) {
    throw systemError(options.file, error);
  }
}

async function held(options: NameserverOptions, reading: Reading | undefined, signal?: AbortSignal): Promise<KeysHeld> {
  return {
    file: options.file,
    mode: reading?.mode ?? null,
    sha256: reading ? hash("sha256", reading.text, "hex") : null,
    keys: keysIn(reading?.text ?? "").map(({ name, secret }) => ({ name, fingerprint: fingerprintOf(secret) })),
    fault: await faultOf(
      options,
      keysIn(reading?.text ?? "").map(({ secret }) => secret),
      signal,
    ),
  };
}

/** Why BIND cannot be told to read what is there now. */
async function faultOf(options: NameserverOptions, secrets: readonly string[], signal?: AbortSignal) {
  const [program = "", ...args] = options.rndc;
  try {
    await check(options, secrets, signal);
    await execChecked(program, [...args, "status"], { timeoutMs: STATUS_MS, signal, secrets });
    return null;
  } catch (error) {
    return toDvError(error).message;
  }
}

/** As the dns service shows it: first 16 hexadecimal digits of SHA-256 over the secret. */
function fingerprintOf(secret: string): string {
  return hash("sha256", Buffer.from(secret, "base64"), "hex").slice(0, 16);
}

/** A mistake is found before named is told; without the program or the file named finds it itself. */
async function check(
  { root, config }: NameserverOptions,
  secrets: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  const path = join(root, config);
  const isThere = await access(path).then(
    () => true,
    () => false,
  );
  if (!isThere) return;
  const result = await exec("named-checkconf", [path], { timeoutMs: RECONFIG_MS, signal, secrets });
  if (result.failed && !result.missing) throw execError(result, secrets);
}

async function reconfigure(
  { rndc }: NameserverOptions,
  secrets: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  const [program = "", ...args] = rndc;
  await execChecked(program, [...args, "reconfig"], { timeoutMs: RECONFIG_MS, signal, secrets });
}
