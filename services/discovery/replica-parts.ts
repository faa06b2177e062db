// SPDX-License-Identifier: Apache-2.0
/** What of discovery sees to the copies of streams: raising them, checking them, and having this server's bad ones filled anew. */
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import { nodePaths } from "@debvisor/shared/node-files";
import type { ServiceContext } from "@debvisor/shared/service";
import type { DiscoveryConfig } from "./config.ts";
import { serversAmong } from "./model/cluster-size.ts";
import type { NodeRecord } from "./model/registry.ts";
import type { MembershipStore } from "./reconcilers/membership-store.ts";
import type { RegistryStore } from "./reconcilers/registry-store.ts";
import { startReplicaAgent } from "./reconcilers/replica-agent.ts";
import type { ReplicaControl } from "./reconcilers/replica-control.ts";
import type { ReplicaStore } from "./reconcilers/replica-store.ts";
import { startReplicas } from "./reconcilers/replicas.ts";

type Context = ServiceContext<DiscoveryConfig>;

/** What checking the replicas needs. */
export interface Replicas {
  readonly control: ReplicaControl | undefined;
  readonly store: ReplicaStore;
}

/** Fills this server's copies anew when it is asked to. */
export function replicaAgent({ node, clock, log }: Context, { store }: Replicas): Closable {
  return startReplicaAgent({ store, node: node.id, files: nodePaths(node.dir).rebuild, clock, log });
}

/** Only where the stream administrator's credential is. */
export function replicaJob(
  { connectAdmin, clock, log, node }: Context,
  bus: Bus,
  store: RegistryStore,
  members: MembershipStore,
  { control, store: found }: Replicas,
): Closable[] {
  if (!connectAdmin) return [];
  // One that is still joining sends heartbeats by way of the others, but its server cannot hold a replica yet.
  const belongs = ({ id }: NodeRecord) => members.member(id)?.state !== "admitted";
  // A disabled node is no target, but its server is one of the bus all the same.
  const lives = ({ deleted, state }: NodeRecord) => !deleted && (state === "alive" || state === "disabled");
  const liveServers = () =>
    store.records().filter((one) => lives(one) && belongs(one) && one.roles.includes("server")).length;
  const joining = () =>
    serversAmong(members.members().values()).flatMap(({ id, state }) => (state === "admitted" ? [id] : []));
  const checks = control && { control, store: found };
  const onJoining = (callback: () => void) => members.onChange(callback);
  const whole = { bus, connectAdmin, liveServers, joining, onJoining, cluster: node.cluster, owner: node.id };
  return [startReplicas({ ...whole, clock, log, checks })];
}
