// SPDX-License-Identifier: Apache-2.0
/**
 * The short-lived second server that a lone one needs to get going: a raft group does nothing before it has seen a route, and a new
 * one elects nobody before it has seen a second server (DESIGN.md 5, measured in lab/nats). It holds no data.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../clock.ts";
import { hostPort } from "../join/addresses.ts";
import { type NatsProcess, startNatsProcess, waitUntilListening } from "./process.ts";

const NAME = "helper";
const LEFTOVER_MS = 3_000;

/** What a helper needs to be told. */
export interface HelperOptions {
  readonly binary: string;
  /** Folder of the lone server; that of the helper is in it, and goes with it. */
  readonly dir: string;
  /** Three free ports: client, cluster, monitor. */
  readonly ports: readonly [number, number, number];
  /** Whether it is a member of the group. */
  readonly votes: boolean;
  /** How long the lone server may take until it listens, in milliseconds: it reads its store before. */
  readonly patienceMs: number;
}

/** A running helper. */
export interface Helper {
  /** Its name among the servers. */
  readonly name: string;
  stop(): Promise<void>;
}

/**
 * Starts a helper for a server that has just been started. Only the helper dials, and only once the other one listens: of two that
 * dial each other at the same time both may drop both connections as duplicates, and a dial that was refused is tried again after
 * a second. By then both have asked in vain for votes (100 to 800 ms after the start), and ask again after 4 to 9 s.
 * @throws NATS_SERVER_FAILED when the lone server ends or does not listen
 */
export async function startHelper(options: HelperOptions, lone: NatsProcess): Promise<Helper> {
  const { binary, ports, votes, patienceMs } = options;
  const dir = helperDir(options.dir);
  await endLeftoverHelper(options.dir);
  await waitUntilListening(lone, patienceMs);
  const [port, clusterPort, monitorPort] = ports;
  const { host, clusterPort: loneCluster, serverName } = lone.settings;
  const name = `${serverName}-helper`;
  const helper = startNatsProcess(
    { binary, dir, name: NAME },
    {
      ...{ ...lone.settings, serverName: name, port, clusterPort, monitorPort, jetstream: votes },
      routes: [hostPort(host, loneCluster)],
      storeDir: join(dir, "jetstream"),
      resolverDir: join(dir, "accounts"),
    },
  );
  return {
    name,
    stop: async () => {
      await helper.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Ends a helper whose starter was killed, and removes its files: it would remember terms of an election that is over. */
export async function endLeftoverHelper(dir: string): Promise<void> {
  await endLeftover(helperDir(dir), NAME);
  rmSync(helperDir(dir), { recursive: true, force: true });
}

/**
 * Ends the server that a killed process left in a folder, and waits until it is gone: its store and its ports are needed. A process
 * is ours only if its command line names our file.
 */
export async function endLeftover(dir: string, name: string): Promise<void> {
  const deadline = systemClock.monotonic() + LEFTOVER_MS;
  try {
    const pid = Number(readFileSync(join(dir, `${name}.pid`), "utf8"));
    const config = join(dir, `${name}.conf`);
    const isOurs = () => readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes(config);
    while (isOurs() && systemClock.monotonic() < deadline) {
      process.kill(pid, "SIGKILL");
      await systemClock.sleep(20);
    }
  } catch {
    // No file, or no such process any more.
  }
}

function helperDir(dir: string): string {
  return join(dir, NAME);
}
