// SPDX-License-Identifier: Apache-2.0
/** The server that came last is the only one left after a kill, as a rescue has it (ADR-0022): each of its streams gets a leader. */
import path from "node:path";
import { lowerReplicas, openAdmin } from "@debvisor/shared/bus/admin";
import { connectSystem } from "@debvisor/shared/bus/system";
import { type LoneServer, startLone } from "@debvisor/shared/nats-server/lone";
import { peerIdOf } from "@debvisor/shared/nats-server/process";
import type { JetStreamManager } from "@nats-io/jetstream";
import { expect, test } from "vitest";
import { z } from "zod";
import { type BusCluster, randomNodeId, startBusCluster } from "../support/bus-cluster.ts";
import { freePorts } from "../support/free-ports.ts";
import { streamsWithoutLastWord } from "../support/raft-logs.ts";
import { waitFor } from "../support/wait-for.ts";

const Value = z.object({ at: z.number() });
const LIMIT = { timeout: 120_000 };
/** Streams of a lone server have a leader after 5 to 11 s (ADR-0022). */
const LEADERS_MS = 25_000;

test("groups that nobody wrote to since the last server came begin anew, and keep every message", LIMIT, async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  const tokens = await (await cluster.connectCore("gateway")).bucket("dv_tokens", Value);
  for (let at = 0; at < 20; at++) await tokens.create(`before-${at}`, { at });
  await cluster.grow(3);
  // One stream is written to: its group needs no mending.
  const nodes = await (await cluster.connectCore("discovery")).bucket("dv_nodes", Value);
  for (let at = 0; at < 5; at++) await nodes.create(`after-${at}`, { at });
  await killAll(cluster);
  const index = cluster.servers.findIndex((server) => streamsWithoutLastWord(server).includes("KV_dv_tokens"));

  await using last = await goOnAlone(cluster, index);
  await expect(last.lowered()).rejects.toThrow(/Streams without a leader/);
  const wanted = streamsWithoutLastWord(cluster.server(index));
  const anew = await last.server().stopAndMend();
  expect(anew.sort()).toEqual(wanted.sort());
  expect(anew).toContain("KV_dv_tokens");
  expect(anew).not.toContain("KV_dv_nodes");
  await last.startAgain();

  expect(await last.lowered()).toEqual(expect.arrayContaining(anew));
  const alone = await last.admin();
  const messages = async (name: string) => (await alone.streams.info(name)).state.messages;
  expect([await messages("KV_dv_tokens"), await messages("KV_dv_nodes")]).toEqual([20, 5]);
});

/** kill -9 of all at once; they stay off. */
async function killAll(cluster: BusCluster): Promise<void> {
  for (const server of cluster.servers) server.kill();
  await Promise.all(cluster.servers.map((server) => server.stop()));
}

/** A server of a bus that goes on for itself alone, on its own data, as `dvctl cluster rescue` has it. */
class Survivor implements AsyncDisposable {
  readonly #cluster: BusCluster;
  readonly #options: Parameters<typeof startLone>[0];
  #server: LoneServer | undefined;

  constructor(cluster: BusCluster, options: Parameters<typeof startLone>[0]) {
    this.#cluster = cluster;
    this.#options = options;
  }

  server(): LoneServer {
    if (!this.#server) throw new Error("the survivor has not been started");
    return this.#server;
  }

  async startAgain(): Promise<void> {
    this.#server = await startLone(this.#options);
  }

  /** Takes the others out of the group of servers. */
  async becomeGroupOfOne(): Promise<void> {
    const own = this.#options.settings.serverName;
    const server = this.server();
    const system = await connectSystem(server.url, await this.#cluster.issuer.forRescue(randomNodeId()), 5_000);
    const step = async () => {
      const group = await server.group();
      if (group?.leader !== own) {
        if (group && group.quorum > 1) await system.lowerQuorum();
        return false;
      }
      const lost = group.ids.find((id) => id !== peerIdOf(own));
      if (lost !== undefined) await system.removeLost(lost);
      return lost === undefined && group.size === 1;
    };
    await waitFor(step, 60_000, () => server.logTail());
    await system.close();
  }

  async admin(): Promise<JetStreamManager> {
    const credential = await this.#cluster.issuer.forStreamAdmin(randomNodeId());
    return await openAdmin(await this.#cluster.connectBare(credential, [this.server().url]));
  }

  /** Streams that were lowered to one replica. */
  async lowered(): Promise<string[]> {
    return (await lowerReplicas(await this.admin(), LEADERS_MS)).lowered;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.stop();
  }
}

async function goOnAlone(cluster: BusCluster, index: number): Promise<Survivor> {
  const { name, store } = cluster.server(index);
  const [port = 0, clusterPort = 0, monitorPort = 0, a = 0, b = 0, c = 0] = await freePorts(6);
  const survivor = new Survivor(cluster, {
    binary: cluster.binary,
    dir: path.dirname(store),
    settings: {
      ...{ serverName: name, clusterName: "test", port, clusterPort, monitorPort },
      ...{ trust: cluster.trust, routePassword: "alone" },
    },
    helperPorts: [a, b, c],
  });
  await survivor.startAgain();
  await survivor.becomeGroupOfOne();
  return survivor;
}
