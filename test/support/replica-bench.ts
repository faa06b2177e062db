// SPDX-License-Identifier: Apache-2.0
/**
 * A bus of three servers with all that keeps its replicas sound, as on three nodes: the checks of the one that holds the lease, and
 * on each server the agent and whoever runs its nats-server. With it, what a bad disk does to a replica.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Closable } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { systemClock } from "@debvisor/shared/clock";
import { startReplicaAgent } from "../../services/discovery/reconcilers/replica-agent.ts";
import { createReplicaControl, type ReplicaControl } from "../../services/discovery/reconcilers/replica-control.ts";
import { ReplicaStore } from "../../services/discovery/reconcilers/replica-store.ts";
import { startReplicas } from "../../services/discovery/reconcilers/replicas.ts";
import { type BusCluster, randomNodeId } from "./bus-cluster.ts";
import type { BusServer } from "./bus-server.ts";

const LOOK_MS = 200;

/** An event about a replica. */
export interface ReplicaEvent {
  readonly type: string;
  readonly data: Record<string, unknown>;
}

/** The checks of a bus, at a pace for tests. */
export class ReplicaBench {
  readonly control: ReplicaControl;
  readonly store: ReplicaStore;
  /** What was said of replicas, oldest first. */
  readonly events: ReplicaEvent[] = [];
  readonly #running: Closable[];

  private constructor(control: ReplicaControl, store: ReplicaStore, running: Closable[]) {
    this.control = control;
    this.store = store;
    this.#running = running;
  }

  /** Starts them. */
  static async start(cluster: BusCluster): Promise<ReplicaBench> {
    const { log } = cluster;
    const clock = systemClock;
    const bus = await cluster.connectCore("discovery");
    const connectAdmin = async () => (await cluster.admin()).bus;
    const servers = () => cluster.urls;
    const control = createReplicaControl({ seeds: cluster.seeds, node: randomNodeId(), servers, connectAdmin, log });
    const store = new ReplicaStore(bus);
    const running: Closable[] = [store];
    await store.start();
    const bench = new ReplicaBench(control, store, running);
    running.push(await bench.#listen(await cluster.connectCore("gateway")));
    for (const server of cluster.servers) {
      const files = {
        asked: path.join(server.store, "../rebuild.json"),
        answer: path.join(server.store, "../rebuilt.json"),
      };
      const node = server.name.replace(/-\d+$/, "");
      running.push(startReplicaAgent({ store, node, files, clock, log }));
      running.push(follow(server, files));
    }
    const checks = { control, store };
    const pace = { everyMs: 1_000, confirmMs: 500 };
    const readingPace = { lookMs: 500, confirmMs: 500, confirmTtlMs: 5_000 };
    const whole = {
      bus,
      connectAdmin,
      liveServers: () => 3,
      joining: () => [],
      onJoining: () => ({ stop: async () => undefined }),
      cluster: "test",
      owner: "test",
      clock,
      log,
    };
    running.push(startReplicas({ ...whole, checks, pace, readingPace }));
    return bench;
  }

  /** Events of one kind. */
  of(type: string): Record<string, unknown>[] {
    return this.events.filter((event) => event.type === type).map(({ data }) => data);
  }

  async stop(): Promise<void> {
    for (const one of this.#running.splice(0).reverse()) await one.stop();
  }

  async #listen(bus: ConnectedBus): Promise<Closable> {
    return await bus.readEvents({
      fromSeq: 1,
      onEvent: ({ json }) => {
        const { type, data } = JSON.parse(json) as ReplicaEvent;
        if (type.startsWith("cluster.replica.")) this.events.push({ type: type.slice("cluster.".length), data });
      },
    });
  }
}

/** Does what is asked of a server by files, until stopped. */
function follow(server: BusServer, files: { asked: string; answer: string }): Closable {
  const stopping = new AbortController();
  const run = (async () => {
    while (!stopping.signal.aborted) {
      await server.rebuildAsAsked(files);
      await systemClock.sleep(LOOK_MS, stopping.signal);
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await run;
    },
  };
}

/** Changes the first block of a stream's messages while the server is stopped in good order, as a bad disk would. */
export async function harm(server: BusServer, stream: string, change: (block: Buffer) => Buffer): Promise<void> {
  await server.stop();
  const names = readdirSync(server.store, { recursive: true, encoding: "utf8" });
  const found = names.filter((name) => name.includes(`/streams/${stream}/msgs/`) && name.endsWith(".blk")).sort()[0];
  if (found === undefined) throw new Error(`${server.name} has no block of ${stream}`);
  const file = path.join(server.store, found);
  writeFileSync(file, change(readFileSync(file)));
  await server.start();
}

/** Half of the block. */
export function truncated(block: Buffer): Buffer {
  return block.subarray(0, block.length >> 1);
}

/** One bit of a text in the middle of the block. */
export function flipped(text: string): (block: Buffer) => Buffer {
  return (block) => {
    const at = block.indexOf(text, block.length >> 1);
    if (at < 0) throw new Error(`there is no ${text} in the block`);
    block.writeUInt8(block.readUInt8(at + 1) ^ 0x10, at + 1);
    return block;
  };
}
