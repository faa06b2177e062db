// SPDX-License-Identifier: Apache-2.0
/**
 * Fetches the nats-server program out of the Debian archive this machine already uses, without root and without touching
 * the system: apt works on lists and caches of its own in a temporary folder. Debian's archive was chosen over the
 * project's release page because a Debian machine can reach it (mirror, proxy) and apt verifies the signature.
 */
import { randomBytes } from "node:crypto";
import { access, chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import path from "node:path";
import { readEnv } from "../config.ts";
import { DvError } from "../errors.ts";
import { type ExecOptions, execChecked } from "../exec.ts";
import { debianArchives, readAptSources } from "./apt-sources.ts";

/** The suite that carries nats-server 2.15; the package needs libc6 2.34, that is Debian 12 or later. */
const SUITE = "forky";
const PACKAGE = "nats-server";
const FETCH_LIMIT_MS = 120_000;
const KEYRINGS = ["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"];

/**
 * Puts the program at `target` and returns. The file appears by rename, so several processes may fetch at once and a
 * reader never sees half of it. Takes about 3 s; gives up after two minutes. The temporary folder is always removed.
 *
 * @throws Error with a one-line message: no apt, no Debian archive configured, or what apt said.
 */
export async function fetchFromDebianArchive(target: string, log: (line: string) => void): Promise<void> {
  const archives = debianArchives(await readAptSources("/etc/apt"), await codename());
  if (archives.length === 0) throw new Error("apt's source lists name no Debian archive");
  const signal = AbortSignal.timeout(FETCH_LIMIT_MS);
  const work = await mkdtemp(path.join(tmpdir(), "debvisor-nats-server-"));
  try {
    let failure: unknown;
    for (const [index, archive] of archives.entries()) {
      log(`fetching ${PACKAGE} from ${archive} (${SUITE})`);
      const folder = path.join(work, String(index));
      try {
        await install(await download(archive, folder, signal), target);
        return;
      } catch (error) {
        failure = error;
        if (signal.aborted) break;
      }
    }
    throw new Error(signal.aborted ? `no answer within ${FETCH_LIMIT_MS / 1000} s` : reasonOf(failure), {
      cause: failure,
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Fetches and unpacks the package below `folder`; returns the path of the program in it. */
async function download(archive: string, folder: string, signal: AbortSignal): Promise<string> {
  const options = await prepareApt(archive, folder);
  const run: ExecOptions = {
    timeoutMs: FETCH_LIMIT_MS,
    signal,
    cwd: folder,
    env: { DEBIAN_FRONTEND: "noninteractive", ...proxySettings() },
  };
  await execChecked("apt-get", ["-qq", ...options, "update"], run);
  await execChecked("apt-get", ["-qq", ...options, "download", PACKAGE], run);
  const archiveFile = (await readdir(folder)).find((name) => name.endsWith(".deb"));
  if (archiveFile === undefined) throw new Error(`apt-get download left no ${PACKAGE} package`);
  await execChecked("dpkg-deb", ["--extract", archiveFile, "unpacked"], run);
  return path.join(folder, "unpacked", "usr", "sbin", PACKAGE);
}

async function prepareApt(archive: string, folder: string): Promise<string[]> {
  const parts = path.join(folder, "sources");
  const lists = path.join(folder, "lists");
  const cache = path.join(folder, "cache");
  await Promise.all(
    [parts, path.join(lists, "partial"), path.join(cache, "archives", "partial")].map((name) =>
      mkdir(name, { recursive: true }),
    ),
  );
  const keyring = await firstExisting(KEYRINGS);
  const stanza = [
    "Types: deb",
    `URIs: ${archive}`,
    `Suites: ${SUITE}`,
    "Components: main",
    ...(keyring ? [`Signed-By: ${keyring}`] : []),
  ];
  await writeFile(path.join(parts, "debian.sources"), `${stanza.join("\n")}\n`);
  const settings = [
    "Dir::Etc::sourcelist=/dev/null",
    `Dir::Etc::sourceparts=${parts}`,
    `Dir::State::lists=${lists}`,
    `Dir::Cache=${cache}`,
    // Pins and a default release of this machine speak about its own suites and would hide this one.
    "Dir::Etc::preferences=/dev/null",
    "Dir::Etc::preferencesparts=/dev/null",
    `APT::Default-Release=${SUITE}`,
    // Root's apt would drop to user _apt, which may not write into our temporary folder.
    `APT::Sandbox::User=${userInfo().username}`,
    // Without it an archive that does not answer is only a warning, and the reason gets lost.
    "APT::Update::Error-Mode=any",
    "Acquire::Languages=none",
    "Acquire::Retries=2",
    "Acquire::http::Timeout=20",
    "Acquire::https::Timeout=20",
  ];
  return settings.flatMap((setting) => ["-o", setting]);
}

async function install(program: string, target: string): Promise<void> {
  await mkdir(path.dirname(target), { recursive: true });
  const staged = `${target}.${process.pid}-${randomBytes(4).toString("hex")}`;
  try {
    await copyFile(program, staged);
    await chmod(staged, 0o755);
    await rename(staged, target);
  } finally {
    await rm(staged, { force: true });
  }
}

async function codename(): Promise<string | undefined> {
  const release = await readFile("/etc/os-release", "utf8").catch(() => "");
  return /^VERSION_CODENAME="?([a-z]+)"?$/m.exec(release)?.[1];
}

async function firstExisting(files: readonly string[]): Promise<string | undefined> {
  for (const file of files) {
    const exists = await access(file).then(
      () => true,
      () => false,
    );
    if (exists) return file;
  }
  return undefined;
}

/** apt reaches some mirrors through a proxy that only the environment names. */
function proxySettings(): Record<string, string> {
  const names = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
  const env = readEnv();
  return Object.fromEntries(names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])));
}

/** What apt itself said is in the last lines; its own error line says most. */
function reasonOf(error: unknown): string {
  const lines = error instanceof DvError ? error.details?.["lastLines"] : undefined;
  const said = Array.isArray(lines) ? lines.map(String).filter(Boolean) : [];
  return (
    said.find((line) => line.startsWith("E:")) ??
    said.at(-1) ??
    (error instanceof Error ? error.message : String(error))
  );
}
