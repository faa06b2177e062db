// SPDX-License-Identifier: Apache-2.0
/** The services of a node: all in this process, or each in one of its own that is started again when it ends. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Logger } from "@debvisor/shared/log";
import { readNode } from "@debvisor/shared/node-files";
import type { ServiceDefinition } from "@debvisor/shared/service";
import { ServiceHost } from "@debvisor/shared/service-runner";

/** What a node's process does with its services. */
export interface NodeServices {
  /** Loads code; needs no bus. */
  load(): Promise<void>;
  /** Starts everything; `onChange` when a process id changes. */
  start(onChange: () => void): Promise<void>;
  /** Name and process id of each. */
  list(): { name: string; pid: number | null }[];
  stop(): Promise<void>;
}

/** Services in the order in which they start. The only place that names them; each is also a unit in systemd/. */
const SERVICES = ["node-agent", "discovery", "gateway"] as const;
type ServiceName = (typeof SERVICES)[number];

const LOADERS: { readonly [K in ServiceName]: () => Promise<ServiceDefinition> } = {
  "node-agent": async () =>
    (await import("../../../services/node-agent/service.ts")).nodeAgentService as unknown as ServiceDefinition,
  discovery: async () =>
    (await import("../../../services/discovery/service.ts")).discoveryService as unknown as ServiceDefinition,
  gateway: async () =>
    (await import("../../../services/gateway/service.ts")).gatewayService as unknown as ServiceDefinition,
};

const STOP_LIMIT_MS = 3_500;
const RESTART_MIN_MS = 200;
const RESTART_MAX_MS = 5_000;

function servicesOf(dir: string): ServiceName[] {
  const isServer = readNode(dir).roles.includes("server");
  return SERVICES.filter((name) => name !== "gateway" || isServer);
}

/** All services in this process. */
export function servicesHere(dir: string, log: Logger): NodeServices {
  const names = servicesOf(dir);
  let definitions: readonly ServiceDefinition[] = [];
  let host: ServiceHost | undefined;
  return {
    load: async () => {
      definitions = await Promise.all(names.map((name) => LOADERS[name]()));
    },
    start: async () => {
      const created = new ServiceHost(dir, log);
      host = created;
      await Promise.all(definitions.map((definition) => created.start(definition)));
    },
    list: () => names.map((name) => ({ name, pid: process.pid })),
    stop: async () => host?.stop(),
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
    stop: async () => {
      await Promise.all(children.map((child) => child.stop()));
    },
  };
}

class ServiceProcess {
  readonly name: string;
  readonly #dir: string;
  readonly #log: Logger;
  #child: ChildProcess | undefined;
  #stopping = false;
  #wait = RESTART_MIN_MS;

  constructor(name: string, dir: string, log: Logger) {
    this.name = name;
    this.#dir = dir;
    this.#log = log;
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  start(onChange: () => void): void {
    const main = fileURLToPath(new URL(`../../../services/${this.name}/main.ts`, import.meta.url));
    const child = spawn(process.execPath, [...process.execArgv, main, "--node-dir", this.#dir], {
      stdio: ["ignore", "inherit", "inherit"],
    });
    const startedAt = performance.now();
    this.#child = child;
    onChange();
    child.once("exit", (code, signal) => {
      if (this.#child === child) this.#child = undefined;
      if (this.#stopping) return;
      if (performance.now() - startedAt > 30_000) this.#wait = RESTART_MIN_MS;
      this.#log.error({ service: this.name, code, signal, wait: this.#wait }, "the service ended; it is started again");
      onChange();
      setTimeout(() => !this.#stopping && this.start(onChange), this.#wait);
      this.#wait = Math.min(this.#wait * 2, RESTART_MAX_MS);
    });
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_LIMIT_MS);
    await exited;
    clearTimeout(timer);
  }
}
