// SPDX-License-Identifier: Apache-2.0
/** Discovery: who is on the LAN (node part) and who belongs to the cluster (core part, on server nodes). */
import { readFileSync } from "node:fs";
import { clusterContract } from "@debvisor/proto-events/cluster";
import { discoveryContract } from "@debvisor/proto-events/discovery";
import { discoveryEngineContract } from "@debvisor/proto-events/engine";
import { trustContract } from "@debvisor/proto-events/trust";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import { systemClock } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import { goesByFiles } from "@debvisor/shared/nats-server/certificate";
import { busTls, nodePaths, readMembership } from "@debvisor/shared/node-files";
import { type OperationHost, startOperationHost } from "@debvisor/shared/operation/operation-host";
import { defineService, type ServiceContext } from "@debvisor/shared/service";
import { type DiscoveryConfig, discoveryConfig, joinPortOf } from "./config.ts";
import { discoveryDefinitions } from "./definitions.ts";
import { askSecrets } from "./joining/ask-secrets.ts";
import { renewOwnIfDue } from "./joining/own-certificate.ts";
import { servingMembers } from "./model/membership.ts";
import {
  acceptNodeHandler,
  approveNodeHandler,
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
import { checkReplicasHandler, listReplicasHandler } from "./operations/replicas.ts";
import { getHoldingHandler, getTrustHandler } from "./operations/trust.ts";
import { type AgreedClock, agreedClock } from "./reconcilers/agreed-clock.ts";
import { type BusControl, type BusControlOptions, createBusControl } from "./reconcilers/bus-control.ts";
import { openDoor } from "./reconcilers/door.ts";
import { enterFounding, type KeeperDeps, startKeeper } from "./reconcilers/membership-keeper.ts";
import { MembershipStore } from "./reconcilers/membership-store.ts";
import { type Presence, startPresence, tagVerifier } from "./reconcilers/presence.ts";
import { refreshUntilConnected, startRefresher } from "./reconcilers/refresher.ts";
import { startProjector } from "./reconcilers/registry-projector.ts";
import { RegistryStore } from "./reconcilers/registry-store.ts";
import { createReplicaControl } from "./reconcilers/replica-control.ts";
import { ReplicaStore } from "./reconcilers/replica-store.ts";
import { SecretsFile } from "./reconcilers/secrets-file.ts";
import { startSplitWatch } from "./reconcilers/split-watch.ts";
import { TrustFollower } from "./reconcilers/trust-follower.ts";
import { type Replicas, replicaAgent, replicaJob } from "./replica-parts.ts";

type Context = ServiceContext<DiscoveryConfig>;

const RETRY_MS = 1_000;

export const discoveryService = defineService({
  name: "discovery",
  config: discoveryConfig,
  administersStreams: true,
  prepare: (dir, log) => renewOwnIfDue(dir, systemClock, log),
  helpConnect: async ({ dir, name, roles }, { clock, log, signal }) => {
    if (!roles.includes("server")) await refreshUntilConnected({ dir, name, clock, log }, signal);
  },
  async start(context) {
    const { coreBus: bus, nodeBus, config, clock, log } = context;
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
    const holder = () => refresher ?? core?.follower();
    const held = await nodeBus.serve(trustContract, "node", { getHolding: getHoldingHandler(holder) });
    return {
      ready: () => core?.waitsFor(),
      stop: async () => {
        await Promise.all([held.stop(), core?.stop(), presence?.stop(), refresher?.stop()]);
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
  const secrets = SecretsFile.open(node.dir);
  const options = controlOptions(context, secrets);
  const control: BusControl | undefined = options && createBusControl(options);
  const replicas: Replicas = {
    control: options && createReplicaControl({ ...options, log }),
    store: new ReplicaStore(bus),
  };
  const agreed = agreedClock({ clock, store: members, live: (id) => store.live(id), node: node.id, log });
  const follower = secrets && trustFollower({ ...context, clock: agreed }, members, secrets);
  // Before the membership was read it can neither take up what is wanted nor enter anything.
  const ready = () => (members.ready ? follower : undefined);
  const deps = { store, members, bus, control, maker: ready };
  let host: OperationHost | undefined;
  const up = (async () => {
    while (!stopping.signal.aborted) {
      try {
        if (!store.ready) await store.start();
        if (!members.ready) await members.start();
        if (!replicas.store.ready) await replicas.store.start();
        host ??= startOperationHost(context, bus, {
          service: "discovery",
          contract: discoveryEngineContract,
          definitions: discoveryDefinitions(deps),
        });
        running.push(await serve(context, bus, store, presence, host));
        running.push(
          await serveCluster({ ...context, clock: agreed }, bus, {
            registry: store,
            members,
            presence,
            host,
            replicas,
          }),
        );
        running.push(await serveTrust(bus, store, members, host));
        running.push(startProjector({ ...context, store, bus, owner: node.id }));
        running.push(...replicaJob(context, bus, store, members, replicas));
        running.push(replicaAgent(context, replicas));
        running.push(
          ...(await keepMembership(context, bus, store, members, presence, { secrets, follower, clock: agreed })),
        );
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
    follower: ready,
    waitsFor: () => (running.length < 3 || !host ? "the node registry" : host.waitsFor),
    stop: async () => {
      stopping.abort();
      await Promise.race([up, clock.sleep(RETRY_MS)]);
      await host?.stop();
      await Promise.all(running.map((one) => one.stop()));
      await Promise.all([store.stop(), members.stop(), replicas.store.stop()]);
    },
  };
}

/** Only where the cluster's secrets are. */
function controlOptions(
  { node, connectAdmin }: Context,
  secrets: SecretsFile | undefined,
): BusControlOptions | undefined {
  if (!secrets || !connectAdmin) return undefined;
  const servers = () => readMembership(node.dir)?.busServers ?? [];
  return { seeds: secrets.current.trust, node: node.id, servers, tls: busTls(node.dir), connectAdmin };
}

/** Keeps authority, keys and certificate of this server as the membership says. */
function trustFollower({ node, clock, log }: Context, store: MembershipStore, secrets: SecretsFile): TrustFollower {
  const { dir, id, name, cluster } = node;
  const others = () => servingMembers(store.members()).filter((server) => server.id !== id);
  return new TrustFollower({
    ...{ store, secrets, dir, node: id, clock, log },
    askOthers: (wanted) => askSecrets({ dir, cluster, name, servers: others(), log }, wanted),
    isInForce: async () => {
      const { server } = readMembership(dir) ?? {};
      return server !== undefined && (await goesByFiles(nodePaths(dir).tls, server));
    },
  });
}

/** Keeps membership and files true to each other, and the join port open. */
async function keepMembership(
  { node, config, log }: Context,
  bus: Bus,
  registry: RegistryStore,
  store: MembershipStore,
  presence: Presence | undefined,
  parts: { secrets: SecretsFile | undefined; follower: TrustFollower | undefined; clock: AgreedClock },
): Promise<Closable[]> {
  const { secrets, follower, clock } = parts;
  const paths = nodePaths(node.dir);
  if (!secrets || !follower) {
    log.error({ file: paths.secrets }, "this server has no secrets of the cluster; it cannot let machines in");
    return [];
  }
  const deps: KeeperDeps = {
    ...{ store, bus, secrets, trust: follower, dir: node.dir, node: node.id, clock, log },
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
  const secret = Buffer.from(secrets.current.secret, "base64");
  const watch = startSplitWatch({ store, bus, mdns, identityPem, secret, name: node.name, clock, log });
  return [door, startKeeper(deps), watch];
}

interface ClusterParts {
  readonly registry: RegistryStore;
  readonly members: MembershipStore;
  readonly presence: Presence | undefined;
  readonly host: OperationHost;
  readonly replicas: Replicas;
}

function serveCluster({ clock }: Context, bus: Bus, parts: ClusterParts): Promise<Closable> {
  const { host, replicas, ...rest } = parts;
  const deps = { ...rest, replicas: replicas.store, clock };
  const replicaDeps = { ...rest, ...replicas, clock };
  return bus.serve(clusterContract, "core", {
    getCluster: getClusterHandler(deps),
    growCluster: host.handler("cluster.grow-cluster"),
    listMembers: listMembersHandler(deps),
    listCertificates: listCertificatesHandler(deps),
    listReplicas: listReplicasHandler(replicaDeps),
    checkReplicas: checkReplicasHandler(replicaDeps),
    listPending: listPendingHandler(deps),
    acceptNode: acceptNodeHandler(deps),
    approveNode: approveNodeHandler(deps),
  });
}

function serveTrust(
  bus: Bus,
  registry: RegistryStore,
  members: MembershipStore,
  host: OperationHost,
): Promise<Closable> {
  return bus.serve(trustContract, "core", {
    getTrust: getTrustHandler({ members, registry }),
    rotateAuthority: host.handler("trust.rotate-authority"),
  });
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
