// SPDX-License-Identifier: Apache-2.0
/** Discovery's engine with what removing a member takes, on a bus whose servers are members. Without heartbeats: tests say who lives. */

import { discoveryContract } from "@debvisor/proto-events/discovery";
import type { Operation } from "@debvisor/proto-events/durable";
import { discoveryEngineContract } from "@debvisor/proto-events/engine";
import { Member, MembershipEntry } from "@debvisor/proto-events/membership";
import { newUserKey } from "@debvisor/shared/bus/user-keys";
import { systemClock } from "@debvisor/shared/clock";
import { type OperationHost, startOperationHost } from "@debvisor/shared/operation/operation-host";
import { discoveryDefinitions } from "../../../services/discovery/definitions.ts";
import { CLUSTER_KEY } from "../../../services/discovery/model/membership.ts";
import { NodeRecord } from "../../../services/discovery/model/registry.ts";
import { type BusControl, createBusControl } from "../../../services/discovery/reconcilers/bus-control.ts";
import { MembershipStore } from "../../../services/discovery/reconcilers/membership-store.ts";
import { RegistryStore } from "../../../services/discovery/reconcilers/registry-store.ts";
import { type BusCluster, randomNodeId } from "../../support/bus-cluster.ts";
import { waitFor } from "../../support/wait-for.ts";

const AT = "2026-11-28T08:00:00.000Z";
const END_MS = 60_000;

/** Starts it; every server of the bus is a member. */
export async function startRemovalRig(cluster: BusCluster): Promise<RemovalRig> {
  const { log, seeds } = cluster;
  const bus = await cluster.connectCore("discovery");
  const config = { suspectAfterMs: 600_000, lostAfterMs: 900_000 };
  const store = new RegistryStore({ bus, clock: systemClock, log, config });
  const members = new MembershipStore(bus);
  await Promise.all([store.start(), members.start()]);
  const connectAdmin = async () => (await cluster.admin()).bus;
  const node = randomNodeId();
  const control = createBusControl({ seeds, node, servers: () => cluster.urls, connectAdmin });
  const definitions = discoveryDefinitions({ store, members, bus, control, maker: () => undefined });
  const host = startOperationHost({ clock: systemClock, log, node: { id: node, bootId: "b" } as never }, bus, {
    service: "discovery",
    contract: discoveryEngineContract,
    definitions,
  });
  await waitFor(
    () => host.waitsFor === undefined,
    20_000,
    () => `waits for ${host.waitsFor}`,
  );
  await members.change(CLUSTER_KEY, () =>
    MembershipEntry.parse({
      ...{ kind: "cluster", cluster: "test", formation: "f", servers: 5, foundedAt: AT, foundedBy: "a".repeat(16) },
      ...{ unattendedUntil: AT, joining: null },
    }),
  );
  const rig = new RemovalRig(cluster, { host, store, members, control });
  for (const { name } of cluster.servers) await rig.enter(idOf(name), "server");
  return rig;
}

/** Id of the node whose server has that name. */
export function idOf(server: string): string {
  return server.slice(0, server.lastIndexOf("-"));
}

interface Parts {
  readonly host: OperationHost;
  readonly store: RegistryStore;
  readonly members: MembershipStore;
  readonly control: BusControl;
}

/** See above. */
export class RemovalRig {
  readonly store: RegistryStore;
  readonly members: MembershipStore;
  readonly control: BusControl;
  readonly #cluster: BusCluster;
  readonly #host: OperationHost;

  constructor(cluster: BusCluster, { host, store, members, control }: Parts) {
    this.#cluster = cluster;
    this.#host = host;
    this.store = store;
    this.members = members;
    this.control = control;
  }

  /** Enters a member, and its node into the registry as one that lives. */
  async enter(id: string, role: "server" | "worker", busKey = newUserKey().publicKey): Promise<void> {
    const endpoints = role === "server" ? { host: "127.0.0.1", client: 1, cluster: 2, join: 3, gateway: 4 } : null;
    const common = { id, name: `n-${id}`, addresses: [] };
    const member = Member.parse({
      ...{ kind: "member", ...common, role, state: "active", generation: 2, incarnation: 1, key: "0".repeat(64) },
      ...{ busKey, endpoints, admittedBy: "secret", admittedAt: AT, certificate: null, removed: null },
    });
    const record = NodeRecord.parse({
      ...{ ...common, state: "alive", roles: [role], version: "0.1.0", lastSeen: AT, registeredAt: AT, bootId: "b" },
      disabled: null,
    });
    await this.members.change<Member>(id, () => member);
    await this.store.change(id, () => ({ record, facts: [] }));
  }

  /** Says that a node is lost. */
  async lose(id: string): Promise<void> {
    await this.store.change(id, (record) => (record ? { record: { ...record, state: "lost" }, facts: [] } : undefined));
  }

  /** Asks as the gateway would; resolves with the plan, or with the operation at its end. */
  async remove(node: string, mode: "plan" | "apply" = "apply"): Promise<Operation> {
    const { log } = this.#cluster;
    const input = discoveryContract.operations.removeNode.input.parse({ node, reason: "sold", mode });
    const context = { requestId: randomNodeId(), actor: "ann", signal: AbortSignal.timeout(END_MS), log };
    let operation = await this.#host.handler("discovery.remove-node")(input, context as never);
    if (mode === "plan") return operation;
    await waitFor(
      async () => {
        operation = await this.#host.get(operation.id ?? "");
        return operation.endedAt !== null;
      },
      END_MS,
      () => `${operation.id} is ${operation.state}`,
    );
    return operation;
  }

  /** Names of the group of servers. */
  async peers(): Promise<readonly string[]> {
    return ((await this.control.peers()) ?? []).map(({ name }) => name).sort();
  }

  async stop(): Promise<void> {
    await this.#host.stop();
    await Promise.all([this.store.stop(), this.members.stop()]);
  }
}
