// SPDX-License-Identifier: Apache-2.0
/**
 * Finds the nats-server program that nodes, the local cluster and the tests start, or fetches it (DESIGN.md 10). One
 * place decides which server runs; the version rule lives here and nowhere else.
 */
import { accessSync, constants, statSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { DvError } from "../errors.ts";
import { exec } from "../exec.ts";
import { fetchFromDebianArchive } from "./debian-archive.ts";

/** The oldest nats-server that this project runs on. */
export const MINIMUM_NATS_SERVER_VERSION = "2.15.0";

/** Where the program was found: `$NATS_SERVER`, a folder of `$PATH` (or sbin), the cache, or just now the Debian archive. */
export type NatsServerSource = "env" | "path" | "cache" | "archive";

/** A nats-server that answered `--version` with a version new enough. `path` is absolute. */
export interface NatsServer {
  readonly path: string;
  readonly version: string;
  readonly source: NatsServerSource;
}

/** What `locateNatsServer` needs to know. `env` is the process's own environment unless given. */
export interface LocateOptions {
  /** Folder for the fetched program; made when needed. Several processes may share it. */
  readonly cacheDir: string;
  /** Whether to fetch from the Debian archive when nothing is found. */
  readonly fetch: boolean;
  /** Gets one line per step worth telling: a candidate that is too old, a fetch that starts. */
  readonly log: (line: string) => void;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/**
 * Finds nats-server 2.15.0 or later: `$NATS_SERVER`, then `$PATH`, then `cacheDir`, then the Debian archive. What
 * `$NATS_SERVER` names is used or refused, never passed over. Fetching takes about 3 s, at most two minutes.
 *
 * @throws NATS_SERVER_MISSING in one line that says what to do.
 */
export async function locateNatsServer(options: LocateOptions): Promise<NatsServer> {
  // biome-ignore lint/style/noProcessEnv: PATH and NATS_SERVER say where programs are; they are no setting of a service.
  const env = options.env ?? process.env;
  const named = env["NATS_SERVER"];
  if (named) return await examineNamed(path.resolve(named));
  for (const file of candidatesOnPath(env["PATH"])) {
    const found = await examine(file, "path", options.log);
    if (found) return found;
  }
  const cached = path.resolve(options.cacheDir, "nats-server");
  const found = isProgram(cached) ? await examine(cached, "cache", options.log) : undefined;
  if (found) return found;
  if (!options.fetch) throw missing(`not in $NATS_SERVER, PATH or ${options.cacheDir}`);
  return await fetchInto(cached, options.log);
}

async function examineNamed(file: string): Promise<NatsServer> {
  const version = isProgram(file) ? await versionOf(file) : undefined;
  if (version === undefined) throw missing(`$NATS_SERVER names ${file}, which is no nats-server`);
  if (!isNewEnough(version)) throw missing(`$NATS_SERVER names ${file}, which is ${version}`);
  return { path: file, version, source: "env" };
}

async function fetchInto(target: string, log: (line: string) => void): Promise<NatsServer> {
  try {
    await fetchFromDebianArchive(target, log);
  } catch (error) {
    throw missing(`fetching it failed: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  const found = await examine(target, "archive", log);
  if (found === undefined) throw missing("the one in the Debian archive does not serve");
  log(`nats-server ${found.version} is now at ${found.path}`);
  return found;
}

async function examine(
  file: string,
  source: NatsServerSource,
  log: (line: string) => void,
): Promise<NatsServer | undefined> {
  const version = await versionOf(file);
  if (version !== undefined && isNewEnough(version)) return { path: file, version, source };
  log(`passing over ${file}: ${version === undefined ? "it does not tell its version" : `it is ${version}`}`);
  return undefined;
}

async function versionOf(file: string): Promise<string | undefined> {
  const result = await exec(file, ["--version"], { timeoutMs: 10_000 });
  return result.failed ? undefined : /v(\d+\.\d+\.\d+\S*)/.exec(result.stdout)?.[1];
}

/** Compares release numbers; a pre-release counts as its release. */
function isNewEnough(version: string): boolean {
  const wanted = MINIMUM_NATS_SERVER_VERSION.split(".").map(Number);
  const actual = version.split(/[.-]/).map(Number);
  const different = wanted.findIndex((part, index) => part !== actual[index]);
  return different === -1 || (actual[different] ?? 0) > (wanted[different] ?? 0);
}

/** Debian installs nats-server in /usr/sbin, which the PATH of a plain user does not hold. */
function candidatesOnPath(searchPath: string | undefined): string[] {
  if (!searchPath) return [];
  const folders = [
    ...searchPath.split(path.delimiter).filter((folder) => path.isAbsolute(folder)),
    "/usr/local/sbin",
    "/usr/sbin",
  ];
  return [...new Set(folders)].map((folder) => path.join(folder, "nats-server")).filter(isProgram);
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

function missing(reason: string, cause?: unknown): DvError {
  const remedy = "install it or name one in NATS_SERVER";
  return new DvError(
    "NATS_SERVER_MISSING",
    `nats-server ${MINIMUM_NATS_SERVER_VERSION} or later is missing (${reason}); ${remedy}`,
    { cause },
  );
}
