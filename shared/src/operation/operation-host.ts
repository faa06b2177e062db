// SPDX-License-Identifier: Apache-2.0
/**
 * The engine of a service's core part, on server nodes: it accepts and runs the service's durable operations, and answers the node
 * agent about them. Comes up once the bus can be read, however long that takes; until then requests are refused as unavailable.
 */
import type { Operation } from "@debvisor/proto-events/durable";
import type { EngineContract } from "@debvisor/proto-events/engine";
import type { OperationSummary } from "@debvisor/proto-events/operation";
import { openEmitter } from "../audit/emitter.ts";
import type { Bus, Closable, RequestContext } from "../bus/bus.ts";
import { causeChain, DvError } from "../errors.ts";
import type { ServiceContext } from "../service.ts";
import type { Definition, TargetNode } from "./definition.ts";
import { type Engine, startEngine } from "./engine.ts";
import { maintenanceGate } from "./maintenance-gate.ts";
import { MaintenanceHeld, MaintenancePicture } from "./maintenance-picture.ts";
import { RegistryDirectory } from "./node-directory.ts";
import { findNode } from "./reader.ts";

type Context = Pick<ServiceContext, "clock" | "log" | "node">;

/** Whose engine it is: the service, its definitions, and the contract by which the node agent asks it. */
export interface Hosted {
  readonly service: string;
  readonly contract: EngineContract;
  readonly definitions: readonly Definition<never>[];
}

/** A handler of a durable operation. */
type Handler = (input: Record<string, unknown>, context: RequestContext) => Promise<Operation>;

/** The host of the engine. */
export interface OperationHost extends Closable {
  /** Undefined when it accepts operations, otherwise what it waits for. */
  readonly waitsFor: string | undefined;
  /** One operation. @throws UNAVAILABLE until the engine is up, OPERATION_NOT_FOUND */
  get(id: string): Promise<Operation>;
  /** Every operation of the log, newest first. @throws UNAVAILABLE until the log has been read */
  list(): readonly OperationSummary[];
  /** A node by id or name. @throws UNAVAILABLE until the registry has been read, NODE_NOT_FOUND */
  node(ref: string): Promise<TargetNode>;
  /** The handler of a durable operation. It throws UNAVAILABLE until the engine is up. */
  handler(type: string): Handler;
}

const RETRY_MS = 1_000;

/** Starts the host. */
export function startOperationHost(context: Context, bus: Bus, hosted: Hosted): OperationHost {
  const { clock, log } = context;
  const stopping = new AbortController();
  let attempt: Attempt | undefined;
  const up = (async () => {
    while (!stopping.signal.aborted) {
      attempt = new Attempt(context, bus, hosted);
      try {
        return await attempt.start();
      } catch (error) {
        await attempt.stop();
        log.warn({ cause: causeChain(error) }, `${hosted.service}: the operation engine cannot start yet`);
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
    list: () => engine().list(),
    node: async (ref) => {
      if (!attempt) throw new DvError("UNAVAILABLE", "The registry has not been read yet; try again in a moment.");
      return await attempt.node(ref);
    },
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
  readonly #hosted: Hosted;
  readonly #directory = new RegistryDirectory();
  readonly #maintenance = new MaintenancePicture(MaintenanceHeld);
  readonly #running: Closable[] = [];
  engine: Engine | undefined;

  constructor(context: Context, bus: Bus, hosted: Hosted) {
    this.#context = context;
    this.#bus = bus;
    this.#hosted = hosted;
  }

  get waitsFor(): string | undefined {
    // The registry may be empty at first; whether its picture lags is asked before each plan.
    if (!this.#maintenance.loaded) return "maintenance";
    return this.engine ? this.engine.waitsFor : "the operation engine";
  }

  async node(ref: string): Promise<TargetNode> {
    await this.#directory.settle();
    return findNode(this.#directory, ref);
  }

  async start(): Promise<void> {
    const { clock, log, node } = this.#context;
    const { service, contract, definitions } = this.#hosted;
    const bus = this.#bus;
    this.#running.push(this.#directory, this.#maintenance);
    await Promise.all([this.#directory.start(bus), this.#maintenance.start(bus)]);
    const audit = openEmitter({ bus, boot: node.bootId, clock, log });
    this.#running.push(audit);
    const engine = await startEngine({
      service,
      nodeId: node.id,
      bus,
      definitions,
      audit,
      gate: maintenanceGate({ store: this.#maintenance, bus }),
      directory: this.#directory,
      clock,
      log,
    });
    this.#running.unshift(engine);
    this.engine = engine;
    this.#running.push(
      await bus.serve(contract, "core", {
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
