// SPDX-License-Identifier: Apache-2.0
/** Discovery as the service runner starts it on a server, and nodes that only send heartbeats. Times are a tenth of the real ones. */
import { randomUUID } from "node:crypto";
import { type Heartbeat, nodeAgentContract } from "@debvisor/proto-events/node-agent";
import { contractsOf } from "@debvisor/proto-events/registry";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { systemClock } from "@debvisor/shared/clock";
import type { RunningService, ServiceContext } from "@debvisor/shared/service";
import { startTracing } from "@debvisor/shared/telemetry";
import { type DiscoveryConfig, discoveryConfig } from "../../../services/discovery/config.ts";
import { discoveryService } from "../../../services/discovery/service.ts";
import { type BusCluster, randomNodeId } from "../../support/bus-cluster.ts";
import { KEY, until } from "./instance.ts";

const TIMES = { suspectAfterMs: 1_000, lostAfterMs: 2_000, checkEveryMs: 100, leaseSeconds: 2 };

/** What a test has to do at its end, last one first. */
export type CleanUp = (() => Promise<unknown> | unknown)[];

export interface Server {
  readonly id: string;
  readonly bus: ConnectedBus;
  readonly running: RunningService;
}

/** Starts discovery; resolves when it is ready. */
export async function startDiscovery(
  cluster: BusCluster,
  config: Partial<DiscoveryConfig>,
  cleanUp: CleanUp,
): Promise<Server> {
  const id = randomNodeId();
  const credential = await cluster.issuer.forCore("discovery", id, contractsOf("discovery"));
  const coreBus = await cluster.connect({ credential, origin: "core", node: { id, name: "server" } });
  const nodeBus = await cluster.connectNode(id);
  const identity = {
    id,
    name: `s-${id}`,
    roles: ["server"],
    cluster: "test",
    version: "0.1.0",
    bootId: "b",
    root: "/",
  };
  const context: ServiceContext<DiscoveryConfig> = {
    config: discoveryConfig.parse({ mdns: false, ...TIMES, ...config }),
    log: cluster.log.child({ server: id }),
    clock: systemClock,
    tracing: await startTracing({ service: "discovery", instance: id, version: "0.1.0", env: {} }),
    node: {
      ...identity,
      dir: "/nonexistent",
      stateDir: "/nonexistent",
      addresses: ["127.0.0.1"],
      advertiseKey: KEY,
      trust: { operator: "", accounts: [] },
    },
    nodeBus,
    coreBus,
  };
  const running = await discoveryService.start(context);
  cleanUp.push(() => running.stop());
  await until(() => running.ready() === undefined, 10_000, "discovery is ready");
  return { id, bus: coreBus, running };
}

/** A node that sends a heartbeat every 100 ms until it is silenced. */
export async function startBeating(cluster: BusCluster, more: Partial<Heartbeat>, cleanUp: CleanUp) {
  const id = randomNodeId();
  const bus = await cluster.connectNode(id);
  const state = { speaking: true, more };
  const metrics = { overall: "ok" as const, load1: 0.5, cpuPercent: 1, memoryPercent: 2, diskPercent: 3, busRttMs: 1 };
  const bootId = randomUUID();
  let sequence = 0;
  const beat = () => {
    const rest = { name: `n-${id}`, roles: ["worker"], version: "0.1.0", addresses: ["10.0.0.1"], bootId, metrics };
    const heartbeat = { node: id, ...rest, sequence: sequence++, time: new Date().toISOString(), ...state.more };
    if (state.speaking) bus.publishTelemetry(nodeAgentContract, "heartbeat", heartbeat);
  };
  const timer = setInterval(beat, 100);
  cleanUp.push(() => clearInterval(timer));
  return { id, bus, state };
}
