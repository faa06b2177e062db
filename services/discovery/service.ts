// SPDX-License-Identifier: Apache-2.0
/** Discovery: who is on the LAN (node part) and who belongs to the cluster (core part, on server nodes). */
import { readFileSync } from "node:fs";
import { clusterContract } from "@debvisor/proto-events/cluster";
import { discoveryContract } from "@debvisor/proto-events/discovery";
import { discoveryEngineContract } from "@debvisor/proto-events/engine";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import { toDvError } from "@debvisor/shared/errors";
import { busTls, nodePaths, readJsonFileIfPresent, readMembership, ServerSecrets } from "@debvisor/shared/node-files";
import { type OperationHost, startOperationHost } from "@debvisor/shared/operation/operation-host";
import { defineService, type ServiceContext } from "@debvisor/shared/service";
import { type DiscoveryConfig, discoveryConfig, joinPortOf } from "./config.ts";
import { discoveryDefinitions } from "./definitions.ts";
import { serversAmong } from "./model/cluster-size.ts";
import type { NodeRecord } from "./model/registry.ts";
import {
  acceptNodeHandler,
  getClusterHandler,
  listCertificatesHandler,
  listMembersHandler,
  listPendingHandler,
} from "./operations/cluster.ts";
import { deleteNodeHandler } from "./operations/delete-node.ts";
import { discoverHandler } from "./operations/discover.ts";
import { getNodeHandler } from "./operations/get-node.ts";
import { listNodesHandler } from "./operations/list-nodes.ts";
import { registerNodeHandler } from "./operations/register-node.ts";
import { type BusControl, createBusControl } from "./reconcilers/bus-control.ts";
import { openDoor } from "./reconcilers/door.ts";
import { enterFounding, type KeeperDeps, startKeeper } from "./reconcilers/membership-keeper.ts";
import { MembershipStore } from "./reconcilers/membership-store.ts";
import { type Presence, startPresence, tagVerifier } from "./reconcilers/presence.ts";
import { startRefresher } from "./reconcilers/refresher.ts";
import { startProjector } from "./reconcilers/registry-projector.ts";
import { RegistryStore } from "./reconcilers/registry-store.ts";
import { startReplicas } from "./reconcilers/replicas.ts";
import { startSplitWatch } from "./reconcilers/split-watch.ts";

type Context = ServiceContext<DiscoveryConfig>;

const RETRY_MS = 1_000;

export const discoveryService = defineService({
  name: "discovery",
  config: discoveryConfig,
  administersStreams: true,
  async start(context) {
    const { coreBus: bus, config, clock, log } = context;
    const members = bus && new MembershipStore(bus);
    const isRemoved = (id: string) => members?.member(id)?.state === "removed";
    const store = bus && new RegistryStore({ bus, clock, log, config, isRemoved });
    const isRegistered = (id: string) => {
      if (!store?.ready) return undefined;
      const record = store.record(id);
      return record !== undefined && !record.deleted;
    };
    const presence = config.mdns ? await startPresence(context, isRegistered) : undefined;
    const core = bus && store && members ? startCore(context, bus, { store, members }, presence) : undefined;
    const { dir, name } = context.node;
    const refresher = bus ? undefined : startRefresher({ dir, name, clock, log });
    return {
      ready: () => core?.waitsFor(),
      stop: async () => {
        await Promise.all([core?.stop(), presence?.stop(), refresher?.stop()]);
      },
    };
  },
});

/** The core part. Comes up once the bucket can be read, however long that takes. */
function startCore(
  context: Context,
  bus: Bus,
  { store, members }: { store: RegistryStore; members: MembershipStore },
  presence: Presence | undefined,
) {
  const { clock, log, node } = context;
  const stopping = new AbortController();
  const running: Closable[] = [];
  const control = busControl(context);
  let host: OperationHost | undefined;
  const up = (async () => {
    while (!stopping.signal.aborted) {
      try {
        if (!store.ready) await store.start();
        if (!members.ready) await members.start();
        host ??= startOperationHost(context, bus, {
          service: "discovery",
          contract: discoveryEngineContract,
          definitions: discoveryDefinitions({ store, members, bus, control }),
        });
        running.push(await serve(context, bus, store, presence, host));
        running.push(await serveCluster(context, bus, store, members, presence, host));
        running.push(startProjector({ ...context, store, bus, owner: node.id }));
        running.push(...replicaJob(context, bus, store, members));
        running.push(...(await keepMembership(context, bus, store, members, presence)));
        return;
      } catch (error) {
        await Promise.all(running.splice(0).map((one) => one.stop()));
        log.warn(
          { code: toDvError(error).code, error: toDvError(error).message },
          "discovery: the registry cannot be read yet",
        );
        await clock.sleep(RETRY_MS, stopping.signal);
      }
    }
  })();
  return {
    waitsFor: () => (running.length < 2 || !host ? "the node registry" : host.waitsFor),
    stop: async () => {
      stopping.abort();
      await Promise.race([up, clock.sleep(RETRY_MS)]);
      await host?.stop();
      await Promise.all(running.map((one) => one.stop()));
      await Promise.all([store.stop(), members.stop()]);
    },
  };
}

/** Only where the cluster's secrets are. */
function busControl({ node, connectAdmin }: Context): BusControl | undefined {
  const secrets = readJsonFileIfPresent(nodePaths(node.dir).secrets, ServerSecrets);
  if (!secrets || !connectAdmin) return undefined;
  const servers = () => readMembership(node.dir)?.busServers ?? [];
  return createBusControl({ seeds: secrets.trust, node: node.id, servers, tls: busTls(node.dir), connectAdmin });
}

/** Keeps membership and files true to each other, and the join port open. */
async function keepMembership(
  { node, config, clock, log }: Context,
  bus: Bus,
  registry: RegistryStore,
  store: MembershipStore,
  presence: Presence | undefined,
): Promise<Closable[]> {
  const paths = nodePaths(node.dir);
  const secrets = readJsonFileIfPresent(paths.secrets, ServerSecrets);
  if (!secrets) {
    log.error({ file: paths.secrets }, "this server has no secrets of the cluster; it cannot let machines in");
    return [];
  }
  const deps: KeeperDeps = {
    ...{ store, bus, secrets, dir: node.dir, node: node.id, clock, log },
    isAlive: (id) => registry.live(id) !== undefined,
    unattendedMs: config.unattendedHours * 3_600_000,
  };
  await enterFounding(deps);
  const host = readMembership(node.dir)?.server?.host ?? "127.0.0.1";
  const identityPem = readFileSync(paths.identity, "utf8");
  const door = await openDoor({
    store,
    bus,
    secrets,
    identityPem,
    host,
    port: joinPortOf(node.dir, config),
    clock,
    log,
  });
  const { mdns } = presence ?? {};
  if (!mdns) return [door, startKeeper(deps)];
  const secret = Buffer.from(secrets.secret, "base64");
  const watch = startSplitWatch({ store, bus, mdns, identityPem, secret, name: node.name, clock, log });
  return [door, startKeeper(deps), watch];
}

function serveCluster(
  { clock }: Context,
  bus: Bus,
  registry: RegistryStore,
  members: MembershipStore,
  presence: Presence | undefined,
  host: OperationHost,
): Promise<Closable> {
  const deps = { members, registry, presence, clock };
  return bus.serve(clusterContract, "core", {
    getCluster: getClusterHandler(deps),
    growCluster: host.handler("cluster.grow-cluster"),
    listMembers: listMembersHandler(deps),
    listCertificates: listCertificatesHandler(deps),
    listPending: listPendingHandler(deps),
    acceptNode: acceptNodeHandler(deps),
  });
}

/** Only where the stream administrator's credential is. */
function replicaJob(
  { connectAdmin, clock, log, node }: Context,
  bus: Bus,
  store: RegistryStore,
  members: MembershipStore,
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
  return [
    startReplicas({ bus, connectAdmin, liveServers, joining, cluster: node.cluster, owner: node.id, clock, log }),
  ];
}

function serve(
  { node, log }: Context,
  bus: Bus,
  store: RegistryStore,
  presence: Presence | undefined,
  host: OperationHost,
): Promise<Closable> {
  const verify = tagVerifier(node.advertiseKey);
  const isRegistered = (id: string) => store.record(id)?.deleted === false;
  return bus.serve(discoveryContract, "core", {
    listNodes: listNodesHandler({ store }),
    getNode: getNodeHandler({ store }),
    registerNode: registerNodeHandler({ store }),
    disableNode: host.handler("discovery.disable-node"),
    enableNode: host.handler("discovery.enable-node"),
    removeNode: host.handler("discovery.remove-node"),
    deleteNode: deleteNodeHandler({ store }),
    discover: discoverHandler({ mdns: presence?.mdns, verify, isRegistered, log }),
  });
}
