// SPDX-License-Identifier: Apache-2.0
/**
 * Makes a machine nobody's again: what it was and what it was given is deleted, so that it joins as a new node. What it has not told
 * the cluster yet (audit records) is put aside, because it may be the only copy.
 */
import { existsSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join, resolve, sep } from "node:path";
import { DvError } from "@debvisor/shared/errors";
import { nodePaths, readNode } from "@debvisor/shared/node-files";

const DEFAULT_DIR = "/var/lib/debvisor";
/** Entry points of ours: units, services, nodes of the local cluster, `debvisor-join`. */
const ENTRY =
  /(?:^|\/)(?:(?:services|deploy)\/[a-z-]+\/main|apps\/lab\/src\/[a-z-]+|apps\/cli\/src\/debvisor-join)\.ts$/;

/** A process that uses a node's folder. */
export interface FolderUser {
  readonly pid: number;
  readonly program: string;
}

/** Processes of this machine that are the node's: its nats-server, its services, whatever supervises them. */
export function folderUsers(dir: string): FolderUser[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  return pids.flatMap((pid) => {
    const argv = wordsOf(`/proc/${pid}/cmdline`);
    const isNats = basename(argv[0] ?? "").startsWith("nats-server");
    const script = argv.find((word) => ENTRY.test(word));
    if (!isNats && script === undefined) return [];
    if (!names(argv, wordsOf(`/proc/${pid}/environ`), resolve(dir), script)) return [];
    return [{ pid: Number(pid), program: script ?? "nats-server" }];
  });
}

function names(argv: readonly string[], environ: readonly string[], dir: string, script: string | undefined): boolean {
  const values = argv.map((word) => word.slice(word.startsWith("--") ? word.indexOf("=") + 1 : 0));
  const named = environ.find((entry) => entry.startsWith("DV_NODE_DIR="))?.slice("DV_NODE_DIR=".length);
  if ([...values, named ?? ""].some((value) => value === dir || value.startsWith(dir + sep))) return true;
  const isElsewhere = named !== undefined || argv.some((word) => word.startsWith("--node-dir"));
  return dir === DEFAULT_DIR && script !== undefined && !isElsewhere && !script.includes("apps/lab/");
}

/* A process may end while it is looked at, and those of others need not be readable: nobody but root may look at all. */
function wordsOf(file: string): string[] {
  try {
    return readFileSync(file, "utf8").split("\0");
  } catch {
    return [];
  }
}

/** What was done to a folder. */
export interface Reset {
  readonly node: string;
  /** Files and folders that are gone, as far as they were there. */
  readonly deleted: readonly string[];
  /** Where the services' own state is now; null when there was none. */
  readonly keptState: string | null;
}

/**
 * Resets the node in a folder. `node` is its id, said by whoever wants it, so that no other machine is hit. The membership goes first:
 * a machine that loses power in between starts no service any more, and is reset by saying it again.
 * @throws INVALID_ARGUMENT for another id, CONFLICT while it runs, DATA_FOLDER_CORRUPT
 */
export function resetNode(dir: string, node: string): Reset {
  const own = readNode(dir);
  if (own.id !== node)
    throw new DvError(
      "INVALID_ARGUMENT",
      `This machine is node ${own.id} (${own.name}), not ${node}; nothing was deleted.`,
    );
  if (own.root !== "/")
    throw new DvError("INVALID_ARGUMENT", `${dir} is a node of a local cluster; delete the cluster's folder instead.`);
  const users = folderUsers(dir);
  if (users.length > 0) {
    const list = users.slice(0, 5).map(({ pid, program }) => `${program} (${pid})`);
    throw new DvError("CONFLICT", `The node runs: ${list.join(", ")}; nothing was deleted.`, {
      details: { hint: "Stop it first: systemctl stop debvisor.target" },
    });
  }
  const paths = nodePaths(dir);
  const state = join(dir, "state");
  const aside = join(dir, `state-${own.id}`);
  const hasState = existsSync(state);
  const candidates = [
    paths.membership,
    paths.servers,
    paths.rescue,
    // The whole folder: what it holds is for servers of the cluster that is left.
    dirname(paths.secrets),
    join(dir, "credentials"),
    join(dir, "tls"),
    paths.founding,
    paths.promises,
    paths.nats,
    join(dir, "presets"),
    // What a rescue kept of the cluster's data.
    ...readdirSync(dir)
      .filter((name) => name.startsWith("nats-before-rescue-"))
      .map((name) => join(dir, name)),
  ];
  const deleted = candidates.filter((path) => existsSync(path));
  for (const path of deleted) rmSync(path, { recursive: true, force: true });
  if (hasState) renameSync(state, aside);
  // The key last: without it nobody could say which node is to be reset.
  for (const path of [paths.binding, paths.identity, paths.node]) {
    rmSync(path, { force: true });
    deleted.push(path);
  }
  return { node: own.id, deleted, keptState: hasState ? aside : null };
}
