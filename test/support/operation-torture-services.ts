// SPDX-License-Identifier: Apache-2.0
/** The services whose operations are tortured: which one runs a type, and the definitions as its core part makes them. */

import { CONTRACTS } from "@debvisor/proto-events/registry";
import type { Bus } from "@debvisor/shared/bus/bus";
import { systemClock } from "@debvisor/shared/clock";
import type { Definition } from "@debvisor/shared/operation/definition";
import { MaintenanceHeld, MaintenancePicture } from "@debvisor/shared/operation/maintenance-picture";
import { discoveryConfig } from "../../services/discovery/config.ts";
import { discoveryDefinitions } from "../../services/discovery/definitions.ts";
import type { AuthorityMaker } from "../../services/discovery/operations/rotation-steps.ts";
import { type BusControl, createBusControl } from "../../services/discovery/reconcilers/bus-control.ts";
import { MembershipStore } from "../../services/discovery/reconcilers/membership-store.ts";
import { RegistryStore } from "../../services/discovery/reconcilers/registry-store.ts";
import { dnsDefinitions } from "../../services/dns/definitions.ts";
import { nodeAgentDefinitions } from "../../services/node-agent/core.ts";
import { MaintenanceStore } from "../../services/node-agent/reconcilers/maintenance-store.ts";
import { type BusCluster, randomNodeId } from "./bus-cluster.ts";
import { tortureBind, tortureStore } from "./operation-torture-dns.ts";
import { type Ports, portBus } from "./operation-torture-ports.ts";

export const TORTURE_SERVICES = ["node-agent", "discovery", "dns"] as const;
export type TortureService = (typeof TORTURE_SERVICES)[number];

/** What an engine of a service works with. */
export interface ServiceParts {
  readonly definitions: readonly Definition<never>[];
  readonly maintenance: Pick<MaintenancePicture, "of">;
  stop(): Promise<void>;
}

/** The service that runs a type. */
export function serviceOfType(type: string): TortureService {
  const contract = CONTRACTS.find(({ service }) => service === type.split(".")[0]);
  const service = TORTURE_SERVICES.find((name) => name === (contract?.implementedBy ?? contract?.service));
  if (!service) throw new Error(`no service here runs ${type}`);
  return service;
}

/** The bus itself asked directly. Servers on one machine answer at once. */
export function controlOf(cluster: BusCluster): BusControl {
  return createBusControl({
    seeds: cluster.seeds,
    node: randomNodeId(),
    servers: () => cluster.urls,
    connectAdmin: async () => (await cluster.admin()).bus,
    answerMs: 25,
  });
}

/** Makes the parts, on a connection of that service whose calls go through the ports. */
export async function startParts(
  service: TortureService,
  real: Bus,
  ports: Ports,
  cluster: BusCluster,
): Promise<ServiceParts> {
  const bus = portBus(real, ports);
  const { log } = cluster;
  if (service === "node-agent") {
    const store = new MaintenanceStore();
    await store.start(bus);
    return {
      definitions: nodeAgentDefinitions({ store, bus, actions: [] }),
      maintenance: store,
      stop: () => store.stop(),
    };
  }
  if (service === "dns") return await startDnsParts(bus, cluster);
  const maintenance = new MaintenancePicture(MaintenanceHeld);
  const store = new RegistryStore({ bus, clock: systemClock, log, config: discoveryConfig.parse({}) });
  const members = new MembershipStore(bus);
  await Promise.all([maintenance.start(bus), store.start(), members.start()]);
  const control = portControl(controlOf(cluster), ports);
  return {
    definitions: discoveryDefinitions({
      store,
      members,
      bus,
      control,
      maker: () => portMaker(makers.get(cluster), ports),
    }),
    maintenance,
    stop: async () => {
      await Promise.all([maintenance.stop(), store.stop(), members.stop()]);
    },
  };
}

/** Who makes new authorities on a bench; the world of rotations says. */
export const makers = new WeakMap<BusCluster, () => AuthorityMaker>();

function portMaker(real: (() => AuthorityMaker) | undefined, ports: Ports): AuthorityMaker | undefined {
  if (!real) return undefined;
  const maker = real();
  return { stage: (operation) => ports.through("maker.stage", () => maker.stage(operation)) };
}

async function startDnsParts(bus: Bus, cluster: BusCluster): Promise<ServiceParts> {
  const maintenance = new MaintenancePicture(MaintenanceHeld);
  await maintenance.start(bus);
  const [store, bind] = [tortureStore(bus), tortureBind(cluster)];
  return {
    definitions: dnsDefinitions({ store, bind, bus, zone: "torture.test" }),
    maintenance,
    stop: () => maintenance.stop(),
  };
}

function portControl(real: BusControl, ports: Ports): BusControl {
  return {
    revoke: (users) => ports.through("control.revoke", () => real.revoke(users)),
    refuses: (publicKey) => ports.through("control.refuses", () => real.refuses(publicKey)),
    peers: () => ports.through("control.peers", () => real.peers()),
    removePeer: (server) => ports.through("control.removePeer", () => real.removePeer(server)),
    streamsOn: (server) => ports.through("control.streamsOn", () => real.streamsOn(server)),
    moveStreams: (server) => ports.through("control.moveStreams", () => real.moveStreams(server)),
    lagging: (except) => ports.through("control.lagging", () => real.lagging(except)),
  };
}
