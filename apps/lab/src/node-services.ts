// SPDX-License-Identifier: Apache-2.0
/** The services of a node: all in this process, or each in one of its own that is started again when it ends. */
import type { SupervisedUnit } from "@debvisor/shared/drivers/lab-supervisor";
import type { Logger } from "@debvisor/shared/log";
import { readNode } from "@debvisor/shared/node-files";
import type { ServiceDefinition } from "@debvisor/shared/service";
import { ServiceHost } from "@debvisor/shared/service-runner";
import { ServiceHere } from "./service-here.ts";
import { ServiceProcess } from "./service-process.ts";

/** What a node's process does with its services. */
export interface NodeServices {
  /** Loads code; needs no bus. */
  load(): Promise<void>;
  /** Starts everything; `onChange` when a process id changes. */
  start(onChange: () => void): Promise<void>;
  /** Name and process id of each. */
  list(): { name: string; pid: number | null }[];
  /** How each is; empty before `start`. */
  units(): SupervisedUnit[];
  /** Has one end and start again; returns before that. Unknown names do nothing. */
  restart(name: string): void;
  stop(): Promise<void>;
}

/** Services in the order in which they start. The only place that names them; each is also a unit in systemd/. */
const SERVICES = ["node-agent", "discovery", "audit", "dns", "gateway"] as const;
/** Those that run on servers only. */
const ON_SERVERS: ReadonlySet<string> = new Set(["dns", "gateway"]);
type ServiceName = (typeof SERVICES)[number];

const LOADERS: { readonly [K in ServiceName]: () => Promise<ServiceDefinition> } = {
  "node-agent": async () =>
    (await import("../../../services/node-agent/service.ts")).nodeAgentService as unknown as ServiceDefinition,
  discovery: async () =>
    (await import("../../../services/discovery/service.ts")).discoveryService as unknown as ServiceDefinition,
  audit: async () => (await import("../../../services/audit/service.ts")).auditService as unknown as ServiceDefinition,
  dns: async () => (await import("../../../services/dns/service.ts")).dnsService as unknown as ServiceDefinition,
  gateway: async () =>
    (await import("../../../services/gateway/service.ts")).gatewayService as unknown as ServiceDefinition,
};

function servicesOf(dir: string): ServiceName[] {
  const isServer = readNode(dir).roles.includes("server");
  return SERVICES.filter((name) => isServer || !ON_SERVERS.has(name));
}

/** All services in this process. */
export function servicesHere(dir: string, log: Logger): NodeServices {
  const names = servicesOf(dir);
  let definitions: readonly ServiceDefinition[] = [];
  let host: ServiceHost | undefined;
  let services: readonly ServiceHere[] = [];
  return {
    load: async () => {
      definitions = await Promise.all(names.map((name) => LOADERS[name]()));
    },
    start: async () => {
      const created = new ServiceHost(dir, log);
      host = created;
      services = definitions.map((definition) => new ServiceHere(created, definition, log));
      await Promise.all(services.map((service) => service.start()));
    },
    list: () => names.map((name) => ({ name, pid: process.pid })),
    units: () => services.map(({ unit }) => unit),
    restart: (name) => services.find((service) => service.name === name)?.restart(),
    stop: async () => {
      for (const service of services) service.stop();
      await host?.stop();
    },
  };
}

/** Each service in a process of its own, as `systemd/debvisor-<service>.service` starts it. */
export function servicesInProcesses(dir: string, log: Logger): NodeServices {
  const children = servicesOf(dir).map((name) => new ServiceProcess(name, dir, log));
  return {
    load: () => Promise.resolve(),
    start: (onChange) => {
      for (const child of children) child.start(onChange);
      return Promise.resolve();
    },
    list: () => children.map(({ name, pid }) => ({ name, pid })),
    units: () => children.map(({ unit }) => unit),
    restart: (name) => children.find((child) => child.name === name)?.restart(),
    stop: async () => {
      await Promise.all(children.map((child) => child.stop()));
    },
  };
}
