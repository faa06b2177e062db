// SPDX-License-Identifier: Apache-2.0
/**
 * The engine of discovery's core part, on server nodes: it accepts and runs discovery's durable operations, and answers the node
 * agent about them. Comes up once the bus can be read, however long that takes; until then requests are refused as unavailable.
 */
import type { Operation } from "@debvisor/proto-events/durable";
import { discoveryEngineContract } from "@debvisor/proto-events/engine";
import { openEmitter } from "@debvisor/shared/audit/emitter";
import type { Bus, Closable, RequestContext } from "@debvisor/shared/bus/bus";
import { causeChain, DvError } from "@debvisor/shared/errors";
import type { Definition } from "@debvisor/shared/operation/definition";
import { type Engine, startEngine } from "@debvisor/shared/operation/engine";
import { maintenanceGate } from "@debvisor/shared/operation/maintenance-gate";
import { MaintenanceHeld, MaintenancePicture } from "@debvisor/shared/operation/maintenance-picture";
import { RegistryDirectory } from "@debvisor/shared/operation/node-directory";
import type { ServiceContext } from "@debvisor/shared/service";

type Context = Pick<ServiceContext, "clock" | "log" | "node">;

/** A handler of a durable operation. */
type Handler = (input: Record<string, unknown>, context: RequestContext) => Promise<Operation>;

/** The host of the engine. */
export interface OperationHost extends Closable {
  /** Undefined when it accepts operations, otherwise what it waits for. */
  readonly waitsFor: string | undefined;
  /** One operation. @throws UNAVAILABLE until the engine is up, OPERATION_NOT_FOUND */
  get(id: string): Promise<Operation>;
  /** The handler of a durable operation. It throws UNAVAILABLE until the engine is up. */
  handler(type: string): Handler;
}

const RETRY_MS = 1_000;

/** Starts the host. */
export function startOperationHost(
  context: Context,
  bus: Bus,
  definitions: readonly Definition<never>[],
): OperationHost {
  const { clock, log } = context;
  const stopping = new AbortController();
  let attempt: Attempt | undefined;
  const up = (async () => {
    while (!stopping.signal.aborted) {
      attempt = new Attempt(context, bus, definitions);
      try {
        return await attempt.start();
      } catch (error) {
        await attempt.stop();
        log.warn({ cause: causeChain(error) }, "discovery: the operation engine cannot start yet");
        await clock.sleep(RETRY_MS, stopping.signal);
      }
    }
  })();
  const engine = () => {
    if (!attempt?.engine)
      throw new DvError("UNAVAILABLE", "The operation engine is not up yet; try again in a moment.");
    return attempt.engine;
  };
  return {
    get waitsFor() {
      return attempt ? attempt.waitsFor : "the operation engine";
    },
    get: async (id) => await engine().get(id),
    handler: (type) => async (input, request) => await engine().handler(type)(input, request),
    stop: async () => {
      stopping.abort();
      await Promise.race([up, clock.sleep(RETRY_MS)]);
      await attempt?.stop();
    },
  };
}

/** One attempt to start: all of it, or nothing that stays. */
class Attempt {
  readonly #context: Context;
  readonly #bus: Bus;
  readonly #definitions: readonly Definition<never>[];
  readonly #directory = new RegistryDirectory();
  readonly #maintenance = new MaintenancePicture(MaintenanceHeld);
  readonly #running: Closable[] = [];
  engine: Engine | undefined;

  constructor(context: Context, bus: Bus, definitions: readonly Definition<never>[]) {
    this.#context = context;
    this.#bus = bus;
    this.#definitions = definitions;
  }

  get waitsFor(): string | undefined {
    // The registry may be empty at first; whether its picture lags is asked before each plan.
    if (!this.#maintenance.loaded) return "maintenance";
    return this.engine ? this.engine.waitsFor : "the operation engine";
  }

  async start(): Promise<void> {
    const { clock, log, node } = this.#context;
    const bus = this.#bus;
    this.#running.push(this.#directory, this.#maintenance);
    await Promise.all([this.#directory.start(bus), this.#maintenance.start(bus)]);
    const audit = openEmitter({ bus, boot: node.bootId, clock, log });
    this.#running.push(audit);
    const engine = await startEngine({
      service: "discovery",
      nodeId: node.id,
      bus,
      definitions: this.#definitions,
      audit,
      gate: maintenanceGate({ store: this.#maintenance, bus }),
      directory: this.#directory,
      clock,
      log,
    });
    this.#running.unshift(engine);
    this.engine = engine;
    this.#running.push(
      await bus.serve(discoveryEngineContract, "core", {
        retryOperation: ({ operation }, request) => engine.retry(operation, request),
        explainOperation: async ({ operation }) => ({ operation, ...(await engine.explain(operation)) }),
      }),
    );
  }

  async stop(): Promise<void> {
    this.engine = undefined;
    // On a connection that is closed already nothing is left to be ended, and ending it says so by failing.
    await Promise.allSettled(this.#running.splice(0).map((one) => one.stop()));
  }
}
