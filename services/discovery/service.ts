// SPDX-License-Identifier: Apache-2.0
/** Discovery: who is on the LAN (node part) and who belongs to the cluster (core part, on server nodes). */
import { discoveryContract } from "@debvisor/proto-events/discovery";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import { toDvError } from "@debvisor/shared/errors";
import { defineService, type ServiceContext } from "@debvisor/shared/service";
import { type DiscoveryConfig, discoveryConfig } from "./config.ts";
import type { NodeRecord } from "./model/registry.ts";
import { deleteNodeHandler } from "./operations/delete-node.ts";
import { disableNodeHandler } from "./operations/disable-node.ts";
import { discoverHandler } from "./operations/discover.ts";
import { enableNodeHandler } from "./operations/enable-node.ts";
import { getNodeHandler } from "./operations/get-node.ts";
import { listNodesHandler } from "./operations/list-nodes.ts";
import { registerNodeHandler } from "./operations/register-node.ts";
import { type Presence, startPresence, tagVerifier } from "./reconcilers/presence.ts";
import { startProjector } from "./reconcilers/registry-projector.ts";
import { RegistryStore } from "./reconcilers/registry-store.ts";
import { startReplicas } from "./reconcilers/replicas.ts";

type Context = ServiceContext<DiscoveryConfig>;

const RETRY_MS = 1_000;

export const discoveryService = defineService({
  name: "discovery",
  config: discoveryConfig,
  administersStreams: true,
  async start(context) {
    const { coreBus: bus, config, clock, log } = context;
    const store = bus && new RegistryStore({ bus, clock, log, config });
    const isRegistered = (id: string) => {
      if (!store?.ready) return undefined;
      const record = store.record(id);
      return record !== undefined && !record.deleted;
    };
    const presence = config.mdns ? await startPresence(context, isRegistered) : undefined;
    const core = bus && store ? startCore(context, bus, store, presence) : undefined;
    return {
      ready: () => core?.waitsFor(),
      stop: async () => {
        await Promise.all([core?.stop(), presence?.stop()]);
      },
    };
  },
});

/** The core part. Comes up once the bucket can be read, however long that takes. */
function startCore(context: Context, bus: Bus, store: RegistryStore, presence: Presence | undefined) {
  const { clock, log, node } = context;
  const stopping = new AbortController();
  const running: Closable[] = [];
  const up = (async () => {
    while (!stopping.signal.aborted) {
      try {
        if (!store.ready) await store.start();
        running.push(await serve(context, bus, store, presence));
        running.push(startProjector({ ...context, store, bus, owner: node.id }));
        running.push(...replicaJob(context, bus, store));
        return;
      } catch (error) {
        log.warn(
          { code: toDvError(error).code, error: toDvError(error).message },
          "discovery: the registry cannot be read yet",
        );
        await clock.sleep(RETRY_MS, stopping.signal);
      }
    }
  })();
  return {
    waitsFor: () => (running.length < 2 ? "the node registry" : undefined),
    stop: async () => {
      stopping.abort();
      await Promise.race([up, clock.sleep(RETRY_MS)]);
      await Promise.all(running.map((one) => one.stop()));
      await store.stop();
    },
  };
}

/** Only where the stream administrator's credential is. */
function replicaJob({ connectAdmin, clock, log, node }: Context, bus: Bus, store: RegistryStore): Closable[] {
  if (!connectAdmin) return [];
  // A disabled node is no target, but its server is one of the bus all the same.
  const lives = ({ deleted, state }: NodeRecord) => !deleted && (state === "alive" || state === "disabled");
  const liveServers = () => store.records().filter((node) => lives(node) && node.roles.includes("server")).length;
  return [startReplicas({ bus, connectAdmin, liveServers, cluster: node.cluster, owner: node.id, clock, log })];
}

function serve(
  { node, log }: Context,
  bus: Bus,
  store: RegistryStore,
  presence: Presence | undefined,
): Promise<Closable> {
  const verify = tagVerifier(node.advertiseKey);
  const isRegistered = (id: string) => store.record(id)?.deleted === false;
  return bus.serve(discoveryContract, "core", {
    listNodes: listNodesHandler({ store }),
    getNode: getNodeHandler({ store }),
    registerNode: registerNodeHandler({ store }),
    disableNode: disableNodeHandler({ store }),
    enableNode: enableNodeHandler({ store }),
    deleteNode: deleteNodeHandler({ store }),
    discover: discoverHandler({ mdns: presence?.mdns, verify, isRegistered, log }),
  });
}
