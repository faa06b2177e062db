// SPDX-License-Identifier: Apache-2.0
/**
 * Runs the nats-server of a member for itself alone while it is rescued: on loopback, under a password that no other server knows,
 * so that nobody from the network takes part, whoever is powered on meanwhile. A raft group that was started anew does nothing
 * before it has seen a route, so a second server without data is there at first, as when a lone member comes back (member.ts).
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../clock.ts";
import { hostPort } from "../join/addresses.ts";
import type { NatsServerSettings } from "./config.ts";
import { metaGroup, type NatsProcess, startNatsProcess } from "./process.ts";

const HOST = "127.0.0.1";
const NAME = "nats-server";
const HELPER = "helper";
const LEFTOVER_MS = 3_000;

/** What a lone server is made of. */
export interface LoneOptions {
  readonly binary: string;
  /** The member's folder; holds the store. */
  readonly dir: string;
  /** Where it listens otherwise does not matter. */
  readonly settings: Omit<NatsServerSettings, "storeDir" | "resolverDir" | "jetstream" | "host" | "routes">;
  readonly helperPorts: readonly [number, number, number];
}

/** A server that runs alone. */
export interface LoneServer {
  /** `host:port` for clients on this machine. */
  readonly url: string;
  /** The group of servers as this one sees it; undefined while it does not answer. */
  group(): ReturnType<typeof metaGroup>;
  /** Last lines of its log. */
  logTail(): string;
  stop(): Promise<void>;
}

/** Starts it. It may not answer yet. Ends first what a killed predecessor left running. @throws NATS_SERVER_FAILED */
export async function startLone({ binary, dir, settings, helperPorts }: LoneOptions): Promise<LoneServer> {
  const helperDir = join(dir, HELPER);
  await Promise.all([endLeftover(dir, NAME), endLeftover(helperDir, HELPER)]);
  const [port, clusterPort, monitorPort] = helperPorts;
  const routes = [hostPort(HOST, settings.clusterPort), hostPort(HOST, clusterPort)];
  const place = { host: HOST, routes };
  const server = startNatsProcess(
    { binary, dir, name: NAME },
    { ...settings, ...place, storeDir: join(dir, "jetstream"), resolverDir: join(dir, "accounts"), jetstream: true },
  );
  const helper = startNatsProcess(
    { binary, dir: helperDir, name: HELPER },
    {
      ...{ ...settings, ...place, port, clusterPort, monitorPort, jetstream: false },
      serverName: `${settings.serverName}-helper`,
      storeDir: join(helperDir, "jetstream"),
      resolverDir: join(helperDir, "accounts"),
    },
  );
  return {
    url: hostPort(HOST, settings.port),
    group: () => metaGroup(settings),
    logTail: () => server.logTail(),
    stop: () => stopBoth(server, helper, helperDir),
  };
}

async function stopBoth(server: NatsProcess, helper: NatsProcess, helperDir: string): Promise<void> {
  await Promise.all([server.stop(), helper.stop()]);
  rmSync(helperDir, { recursive: true, force: true });
}

/** A process is ours only if its command line names our file. Waits until it is gone: its store and its ports are needed. */
async function endLeftover(dir: string, name: string): Promise<void> {
  const deadline = systemClock.monotonic() + LEFTOVER_MS;
  let pid = 0;
  try {
    pid = Number(readFileSync(join(dir, `${name}.pid`), "utf8"));
    while (systemClock.monotonic() < deadline) {
      if (
        !readFileSync(`/proc/${pid}/cmdline`, "utf8")
          .split("\0")
          .includes(join(dir, `${name}.conf`))
      )
        return;
      process.kill(pid, "SIGKILL");
      await systemClock.sleep(20);
    }
  } catch {
    // No file, or no such process any more.
  }
}
