// SPDX-License-Identifier: Apache-2.0
/**
 * The node agent's core part, on server nodes: the engine with the operations on hosts and on maintenance, and the answers about
 * operations and locks.
 */
import { hostContract } from "@debvisor/proto-events/host";
import { maintenanceContract } from "@debvisor/proto-events/maintenance";
import { operationContract } from "@debvisor/proto-events/operation";
import { openEmitter } from "@debvisor/shared/audit/emitter";
import type { Bus, Closable } from "@debvisor/shared/bus/bus";
import { causeChain } from "@debvisor/shared/errors";
import type { Definition } from "@debvisor/shared/operation/definition";
import { type Engine, startEngine } from "@debvisor/shared/operation/engine";
import { maintenanceGate } from "@debvisor/shared/operation/maintenance-gate";
import { RegistryDirectory } from "@debvisor/shared/operation/node-directory";
import { findNode } from "@debvisor/shared/operation/reader";
import type { ServiceContext } from "@debvisor/shared/service";
import {
  disableMaintenanceDefinition,
  enableMaintenanceDefinition,
  type MaintenanceDeps,
} from "./operations/maintenance.ts";
import { operationHandlers } from "./operations/operation-handlers.ts";
import { putFileDefinition, removeFileDefinition } from "./operations/put-file.ts";
import { rebootNodesDefinition } from "./operations/reboot-nodes.ts";
import { restartServiceDefinition } from "./operations/restart-service.ts";
import { startMaintenanceExpiry } from "./reconcilers/maintenance-expiry.ts";
import { MaintenanceStore } from "./reconcilers/maintenance-store.ts";
import { startOperationEvents } from "./reconcilers/operation-events.ts";

type Context = Pick<ServiceContext, "clock" | "log" | "node">;

const RETRY_MS = 1_000;

/** Every definition that the node agent's engine runs. The torture test runs each of them as well. */
export function nodeAgentDefinitions(deps: MaintenanceDeps): readonly Definition<never>[] {
  const all = [
    enableMaintenanceDefinition(deps),
    disableMaintenanceDefinition(deps),
    restartServiceDefinition(),
    putFileDefinition(),
    removeFileDefinition(),
    rebootNodesDefinition(deps.bus),
  ];
  return all as unknown as readonly Definition<never>[];
}

/** Starts the core part; it comes up once the bus can be read, however long that takes. */
export function startCore(context: Context, bus: Bus): { waitsFor(): string | undefined; stop(): Promise<void> } {
  const { clock, log } = context;
  const stopping = new AbortController();
  let core: Core | undefined;
  const up = (async () => {
    while (!stopping.signal.aborted) {
      const starting = new Core(context, bus);
      try {
        await starting.start();
        core = starting;
        return;
      } catch (error) {
        await starting.stop();
        log.warn({ cause: causeChain(error) }, "node agent: the operation engine cannot start yet");
        await clock.sleep(RETRY_MS, stopping.signal);
      }
    }
  })();
  return {
    waitsFor: () => (core ? core.waitsFor : "the operation engine"),
    stop: async () => {
      stopping.abort();
      await Promise.race([up, clock.sleep(RETRY_MS)]);
      await core?.stop();
    },
  };
}

class Core {
  readonly #context: Context;
  readonly #bus: Bus;
  readonly #directory = new RegistryDirectory();
  readonly #store = new MaintenanceStore();
  readonly #running: Closable[] = [];
  #engine: Engine | undefined;

  constructor(context: Context, bus: Bus) {
    this.#context = context;
    this.#bus = bus;
  }

  get waitsFor(): string | undefined {
    if (!this.#directory.loaded) return "the node registry";
    if (!this.#store.loaded) return "maintenance";
    return this.#engine ? this.#engine.waitsFor : "the operation engine";
  }

  async start(): Promise<void> {
    const { clock, log, node } = this.#context;
    const bus = this.#bus;
    await Promise.all([this.#directory.start(bus), this.#store.start(bus)]);
    this.#running.push(this.#directory, this.#store);
    const audit = await openEmitter({ bus, boot: node.bootId, clock, log });
    const deps: MaintenanceDeps = { store: this.#store, bus, actions: [] };
    const engine = await startEngine({
      service: "node-agent",
      nodeId: node.id,
      bus,
      definitions: nodeAgentDefinitions(deps),
      audit,
      gate: maintenanceGate(deps),
      directory: this.#directory,
      clock,
      log,
    });
    this.#engine = engine;
    this.#running.push(engine, audit);
    await this.#serve(engine);
    const job = { bus, clock, log, owner: node.id };
    this.#running.push(startOperationEvents(job), startMaintenanceExpiry({ ...job, store: this.#store, audit }));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#running.splice(0).map((one) => one.stop()));
  }

  async #serve(engine: Engine): Promise<void> {
    const bus = this.#bus;
    const store = this.#store;
    this.#running.push(
      await bus.serve(operationContract, "core", operationHandlers(engine, bus)),
      await bus.serve(maintenanceContract, "core", {
        enableMaintenance: engine.handler("maintenance.enable-maintenance"),
        disableMaintenance: engine.handler("maintenance.disable-maintenance"),
        // From the bucket: the picture may lag for seconds behind what another server has just done.
        getMaintenance: async ({ node }) => {
          const known = [...this.#directory.list().map(({ id }) => id), ...store.list().map(({ target }) => target)];
          const targets = node === undefined ? known : [findNode(this.#directory, node).id];
          return { items: [...(await store.of(targets))] };
        },
      }),
      await bus.serve(hostContract, "core", {
        restartService: engine.handler("host.restart-service"),
        putFile: engine.handler("host.put-file"),
        removeFile: engine.handler("host.remove-file"),
        rebootNodes: engine.handler("host.reboot-nodes"),
      }),
    );
  }
}
