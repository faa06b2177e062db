// SPDX-License-Identifier: Apache-2.0
/** An operation engine for the bench, on the bench's bus, with two kinds of operations: one that is done at once and one that holds. */
import { randomBytes } from "node:crypto";
import { durable } from "@debvisor/proto-events/durable";
import { contractsOf } from "@debvisor/proto-events/registry";
import { type OpenEmitter, openEmitter } from "@debvisor/shared/audit/emitter";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import { type ConnectedBus, connectBus } from "@debvisor/shared/bus/connect";
import { systemClock } from "@debvisor/shared/clock";
import { silentLogger } from "@debvisor/shared/log";
import type { Definition, StepKind } from "@debvisor/shared/operation/definition";
import { type Engine, startEngine } from "@debvisor/shared/operation/engine";
import { newOperationId } from "@debvisor/shared/operation/submit";
import { z } from "zod";
import type { BenchBus } from "./bus.ts";

const TYPE = "bench.touch";

const spec = durable({
  summary: "Touch a resource.",
  effect: "change",
  permission: "bench:resource:touch",
  input: { resource: z.string(), hold: z.boolean().default(false) },
  http: { method: "POST", path: "/v1/bench" },
  durable: { version: 1, targets: null },
  cli: { noun: "bench", verb: "touch", examples: [{ command: "dvctl bench touch", does: "Touch." }] },
});

interface TouchInput {
  readonly resource: string;
  readonly hold: boolean;
}

/** An engine with its connection. */
export interface BenchEngine {
  readonly engine: Engine;
  readonly bus: ConnectedBus;
  readonly audit: OpenEmitter;
  /** Monotonic time at which each operation's first step was begun. */
  readonly begun: ReadonlyMap<string, number>;
  /** Lets the operations that hold go on. */
  release(): void;
  submit(input: { resource: string; hold?: boolean; wait?: string }): ReturnType<ReturnType<Engine["handler"]>>;
  /** Ends it as a power cut would: nothing is given back. */
  die(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts an engine; resolves when it accepts operations. */
export async function startBenchEngine(bench: BenchBus, nodeId: string): Promise<BenchEngine> {
  const log = silentLogger();
  const bus = await connectBus({
    servers: bench.servers,
    credential: await bench.issuer.forCore("node-agent", nodeId, contractsOf("node-agent")),
    origin: "core",
    node: { id: nodeId, name: "bench" },
    version: "0.1.0",
    log,
  });
  const begun = new Map<string, number>();
  const held = Promise.withResolvers<void>();
  const audit = await openEmitter({ bus, boot: nodeId, clock: systemClock, log });
  const engine = await startEngine({
    service: "bench",
    nodeId,
    bus,
    definitions: [definition(begun, held.promise) as unknown as Definition<never>],
    audit,
    gate: () => Promise.resolve(),
    directory: { list: () => [] },
    clock: systemClock,
    log,
  });
  const deadline = performance.now() + 20_000;
  while (engine.waitsFor !== undefined) {
    if (performance.now() > deadline) throw new Error(`the engine waits for ${engine.waitsFor}`);
    await systemClock.sleep(5);
  }
  const handler = engine.handler(TYPE);
  return {
    engine,
    bus,
    audit,
    begun,
    release: () => held.resolve(),
    submit: (input) => handler(spec.input.parse(input) as never, context(log)),
    die: async () => {
      await bus.connection.close();
      await engine.stop();
    },
    stop: async () => {
      await engine.stop();
      await audit.stop();
      await bus.close();
    },
  };
}

function definition(begun: Map<string, number>, held: Promise<void>): Definition<TouchInput> {
  const touch: StepKind<TouchInput> = {
    timeoutMs: 600_000,
    do: async ({ hold }, { submission }) => {
      if (!begun.has(submission.id)) begun.set(submission.id, performance.now());
      if (hold) await held;
    },
    undo: () => Promise.resolve(),
    inspect: () => Promise.resolve("after"),
  };
  return {
    type: TYPE,
    spec,
    deadlineMs: 3_600_000,
    mask: (input) => ({ ...input }),
    plan: (input) =>
      Promise.resolve({
        targets: [],
        steps: [{ id: "touch", kind: "touch", title: "touch", target: null, params: input, resource: input.resource }],
        effects: [{ target: null, what: input.resource, before: null, after: "touched", diff: null }],
        checks: [],
        resources: [input.resource],
        undo: "nothing to undo",
        basis: input,
      }),
    // An undo that leaves nothing behind looks like before; this one only has to end.
    steps: { touch: { ...touch, undo: "never" } },
  };
}

function context(log: ReturnType<typeof silentLogger>): RequestContext {
  return {
    requestId: randomBytes(8).toString("hex"),
    actor: "bench",
    user: undefined,
    source: undefined,
    traceId: undefined,
    order: undefined,
    operation: newOperationId(),
    signal: new AbortController().signal,
    log,
  };
}
