// SPDX-License-Identifier: Apache-2.0
/** An engine as a core part runs it, with a connection, a lease and a picture of its own; killing it cuts the connection. */
import type { Operation } from "@debvisor/proto-events/durable";
import { openEmitter } from "@debvisor/shared/audit/emitter";
import { systemClock } from "@debvisor/shared/clock";
import { type Engine, startEngine } from "@debvisor/shared/operation/engine";
import { maintenanceGate } from "@debvisor/shared/operation/maintenance-gate";
import type { Patience } from "@debvisor/shared/operation/step-runner";
import { nodeAgentDefinitions } from "../../services/node-agent/core.ts";
import { MaintenanceStore } from "../../services/node-agent/reconcilers/maintenance-store.ts";
import { randomNodeId } from "./bus-cluster.ts";
import type { TortureBench } from "./operation-torture-bench.ts";
import { waitFor } from "./wait-for.ts";

const READY_MS = 30_000;

export interface LivingEngine {
  /** Part of the name under which it owns operations. */
  readonly nodeId: string;
  readonly engine: Engine;
  submit(id: string, type: string, input: Record<string, unknown>): Promise<Operation>;
  /** As SIGKILL looks from outside: its connection ends at once, and nothing is given back. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts one; resolves when it accepts operations. */
export async function startLivingEngine(bench: TortureBench, patience?: Patience): Promise<LivingEngine> {
  const { cluster } = bench;
  const { log } = cluster;
  const bus = await cluster.connectCore("node-agent");
  const nodeId = randomNodeId();
  const store = new MaintenanceStore();
  await store.start(bus);
  const definitions = nodeAgentDefinitions({ store, bus, actions: [] });
  const audit = openEmitter({ bus, boot: nodeId, clock: systemClock, log });
  const engine = await startEngine({
    service: "node-agent",
    nodeId,
    bus,
    definitions,
    audit,
    gate: maintenanceGate({ store, bus }),
    directory: { list: () => bench.directory() },
    clock: systemClock,
    log,
    ...(patience ? { patience } : {}),
  });
  await waitFor(
    () => engine.waitsFor === undefined,
    READY_MS,
    () => `the engine waits for ${engine.waitsFor}`,
  );
  return {
    nodeId,
    engine,
    submit: (id, type, input) => {
      const definition = definitions.find((one) => one.type === type);
      const parsed = definition?.spec.input.parse(input) as Record<string, unknown>;
      return engine.handler(type)(parsed, bench.context({ operation: id }));
    },
    kill: async () => {
      await bus.connection.close();
      void engine.stop().catch(() => undefined);
    },
    stop: async () => {
      await engine.stop();
      await store.stop();
      await audit.stop();
      await bus.close();
    },
  };
}
