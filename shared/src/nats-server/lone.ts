// SPDX-License-Identifier: Apache-2.0
/**
 * Runs the nats-server of a member for itself alone while it is rescued: on loopback, under a password that no other server knows,
 * so that nobody from the network takes part, whoever is powered on meanwhile.
 */
import { join } from "node:path";
import { hostPort } from "../join/addresses.ts";
import type { NatsServerSettings } from "./config.ts";
import { metaGroup, startNatsProcess } from "./process.ts";
import { endLeftover, endLeftoverHelper, startHelper } from "./second-server.ts";

const HOST = "127.0.0.1";
const NAME = "nats-server";
/** A server listens once it has read its store, however large that is. */
const LISTEN_MS = 600_000;

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

/** Starts it; resolves when it listens. Ends first what a killed predecessor left running. @throws NATS_SERVER_FAILED */
export async function startLone({ binary, dir, settings, helperPorts }: LoneOptions): Promise<LoneServer> {
  await Promise.all([endLeftover(dir, NAME), endLeftoverHelper(dir)]);
  const server = startNatsProcess(
    { binary, dir, name: NAME },
    {
      ...{ ...settings, host: HOST, routes: [hostPort(HOST, settings.clusterPort)], jetstream: true },
      storeDir: join(dir, "jetstream"),
      resolverDir: join(dir, "accounts"),
    },
  );
  const options = { binary, dir, ports: helperPorts, votes: false, patienceMs: LISTEN_MS };
  const helper = await startHelper(options, server).catch(async (error: unknown) => {
    await server.stop();
    throw error;
  });
  return {
    url: hostPort(HOST, settings.port),
    group: () => metaGroup(settings),
    logTail: () => server.logTail(),
    stop: async () => {
      await Promise.all([server.stop(), helper.stop()]);
    },
  };
}
