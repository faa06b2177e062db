// SPDX-License-Identifier: Apache-2.0
/**
 * Engines on a real bus with operations that are easy to look at: each step writes a line into a file of a folder, as a node's
 * driver would. What goes wrong is put in by the test.
 */
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { durable } from "@debvisor/proto-events/durable";
import { NodeSelection } from "@debvisor/proto-events/primitives";
import { openEmitter } from "@debvisor/shared/audit/emitter";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import { systemClock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import type { Definition, PlannedStep, StepKind, TargetNode } from "@debvisor/shared/operation/definition";
import { type Engine, type EngineOptions, startEngine } from "@debvisor/shared/operation/engine";
import { selectTargets } from "@debvisor/shared/operation/node-directory";
import { newOperationId } from "@debvisor/shared/operation/submit";
import { targetOf } from "@debvisor/shared/operation/survey";
import { z } from "zod";
import type { BusCluster } from "../../support/bus-cluster.ts";
import { randomNodeId } from "../../support/bus-cluster.ts";

/** What a test may make of one step in one direction. Called with the number of the call, from 1. */
export type Trouble = (call: number) => void | Promise<void>;

/** Input of the test's operation: writes `value` into the file of each node. */
interface WriteInput {
  readonly nodes: string;
  readonly value: string;
  readonly parts: number;
}

const spec = durable({
  summary: "Write lines into files.",
  effect: "change",
  permission: "test:line:write",
  fanOut: true,
  input: { nodes: NodeSelection, value: z.string(), parts: z.number().int().default(1) },
  http: { method: "POST", path: "/v1/lines" },
  durable: { version: 1, targets: "nodes", mostPerDomain: 50 },
  cli: { noun: "lines", verb: "write", examples: [{ command: "dvctl lines write", does: "Write." }] },
});

/** The world: a folder with one file for each step's effect. */
export class World {
  readonly dir: string;
  readonly nodes: TargetNode[];
  /** By `<step>/<do|undo|inspect>`. */
  readonly trouble = new Map<string, { before?: Trouble; after?: Trouble }>();
  readonly calls = new Map<string, number>();

  constructor(dir: string, nodes: number) {
    this.dir = dir;
    this.nodes = Array.from({ length: nodes }, (_, i) => ({
      id: randomNodeId(),
      name: `node-${i + 1}`,
      state: "alive" as const,
      roles: ["worker"],
      zone: null,
      rack: null,
      version: "0.1.0",
    }));
  }

  file(node: string, part: number): string {
    return path.join(this.dir, `${node}-${part}`);
  }

  read(file: string): string | null {
    return existsSync(file) ? readFileSync(file, "utf8") : null;
  }

  write(file: string, value: string | null): void {
    if (value === null) rmSync(file, { force: true });
    else writeFileSync(file, value);
  }

  /** Everything there is, by file name. */
  snapshot(): Record<string, string> {
    return Object.fromEntries(
      readdirSync(this.dir).map((name) => [name, readFileSync(path.join(this.dir, name), "utf8")]),
    );
  }

  /** Lets the test get in the way before and after an effect. */
  async around(step: string, direction: string, effect: () => void): Promise<void> {
    const key = `${step}/${direction}`;
    const call = (this.calls.get(key) ?? 0) + 1;
    this.calls.set(key, call);
    const trouble = this.trouble.get(key) ?? this.trouble.get(`*/${direction}`);
    await trouble?.before?.(call);
    effect();
    await trouble?.after?.(call);
  }
}

interface LineParams {
  readonly file: string;
  readonly before: string | null;
  readonly after: string;
  readonly step: string;
}

/** The test's operation. */
export function writeDefinition(world: World): Definition<WriteInput> {
  const line: StepKind<LineParams> = {
    timeoutMs: 2_000,
    patienceMs: 3_000,
    do: (params) => world.around(params.step, "do", () => world.write(params.file, params.after)),
    undo: (params) => world.around(params.step, "undo", () => world.write(params.file, params.before)),
    inspect: (params) => {
      const now = world.read(params.file);
      return Promise.resolve(now === params.after ? "after" : now === params.before ? "before" : "unclear");
    },
  };
  return {
    type: "test.write-lines",
    spec,
    deadlineMs: 60_000,
    mask: (input) => ({ ...input }),
    steps: { line },
    result: (answers) => Object.keys(answers).length,
    plan: (input, reader) => {
      const nodes = selectTargets(input.nodes, reader.nodes());
      const changes = nodes.flatMap((node) =>
        Array.from({ length: input.parts }, (_, part) => {
          const file = world.file(node.name, part);
          const params = { file, before: world.read(file), after: input.value, step: `${node.name}-${part}` };
          return { node, params };
        }).filter(({ params }) => params.before !== params.after),
      );
      const changed = new Set(changes.map(({ node }) => node.id));
      return Promise.resolve({
        targets: nodes.map((node) => targetOf(node, changed.has(node.id) ? "change" : "unchanged")),
        steps: changes.map(
          ({ node, params }): PlannedStep => ({
            id: params.step,
            kind: "line",
            title: `write ${params.step}`,
            target: node.id,
            params,
            resource: `node/${node.id}/line`,
          }),
        ),
        effects: changes.map(({ node, params }) => ({
          target: node.name,
          what: params.step,
          before: params.before,
          after: params.after,
          diff: null,
        })),
        checks:
          input.value === "forbidden"
            ? [
                {
                  id: "value.allowed",
                  target: null,
                  status: "failed" as const,
                  message: "not this value",
                  hint: "another",
                },
              ]
            : [],
        resources: [...changed].map((id) => `node/${id}/line`),
        undo: "rollback",
        basis: changes.map(({ params }) => params),
      });
    },
  };
}

/** An engine and what it runs on. */
export interface EngineRig {
  readonly engine: Engine;
  readonly world: World;
  readonly nodeId: string;
  submit(input: Record<string, unknown>, context?: Partial<RequestContext>): ReturnType<ReturnType<Engine["handler"]>>;
  stop(): Promise<void>;
}

/** Short enough for a test, long enough for a busy machine. */
const PATIENCE = { unreachableMs: 500, undoMs: 1_000, retryMs: 20 };

/** Starts an engine on a bus. Several of them share a world. */
export async function startRigEngine(
  cluster: BusCluster,
  world: World,
  more: Partial<EngineOptions> = {},
): Promise<EngineRig> {
  const bus = await cluster.connectCore("node-agent");
  const nodeId = randomNodeId();
  const audit = await openEmitter({ bus, boot: nodeId, clock: systemClock, log: cluster.log });
  const engine = await startEngine({
    service: "node-agent",
    nodeId,
    bus,
    definitions: [writeDefinition(world) as unknown as Definition<never>],
    audit,
    gate: () => Promise.resolve(),
    directory: { list: () => world.nodes },
    clock: systemClock,
    log: cluster.log,
    patience: PATIENCE,
    ...more,
  });
  const deadline = performance.now() + 15_000;
  while (engine.waitsFor !== undefined) {
    if (performance.now() > deadline) throw new Error(`the engine waits for ${engine.waitsFor}`);
    await systemClock.sleep(10);
  }
  const handler = engine.handler("test.write-lines");
  return {
    engine,
    world,
    nodeId,
    submit: (input, context = {}) => handler(spec.input.parse(input) as never, contextOf(cluster, context)),
    stop: async () => {
      await engine.stop();
      await audit.stop();
      await bus.close();
    },
  };
}

/** What a handler is given besides its input. */
export function contextOf(cluster: BusCluster, more: Partial<RequestContext> = {}): RequestContext {
  return {
    requestId: randomBytes(8).toString("hex"),
    actor: "tester",
    user: "alice",
    source: "127.0.0.1",
    traceId: undefined,
    order: undefined,
    operation: newOperationId(),
    signal: new AbortController().signal,
    log: cluster.log,
    ...more,
  };
}

/** A new world in a folder of the cluster's. */
export function newWorld(cluster: BusCluster, nodes = 1): World {
  return new World(mkdtempSync(path.join(cluster.dir, "world-")), nodes);
}

/** Waits for the end of an operation. */
export async function ended(rig: EngineRig, id: string | null, ms = 20_000) {
  const operation = await rig.engine.wait(id ?? "", { ms, signal: new AbortController().signal });
  if (operation.endedAt === null && operation.state !== "stuck")
    throw new Error(`${id} is still ${operation.state} after ${ms} ms`);
  return operation;
}

/** A failure that a step reports. */
export function failing(message = "the disk is full"): Trouble {
  return () => {
    throw new DvError("TOOL_FAILED", message);
  };
}
