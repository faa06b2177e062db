// SPDX-License-Identifier: Apache-2.0
/** Why an operation waits (GOALS.md B11): stalls that are planted, each explained at once with the right culprit. Prints them. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Wait } from "@debvisor/proto-events/operation";
import { DvError } from "@debvisor/shared/errors";
import { newOperationId } from "@debvisor/shared/operation/submit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import type { Around } from "../../support/operation-torture-around.ts";
import { type Instance, type InstanceOptions, TortureBench } from "../../support/operation-torture-bench.ts";
import { TortureNode } from "../../support/operation-torture-node.ts";
import type { Hook } from "../../support/operation-torture-ports.ts";
import { waitFor } from "../../support/wait-for.ts";

const ANSWER_MS = 100;
const SEEN_MS = 10_000;
const CONTENT = Buffer.from("new").toString("base64");

const cluster = sharedBusCluster({ servers: 1 });
const list: string[] = [];
let bench: TortureBench;
let node: TortureNode;
let cases = 0;

beforeAll(async () => {
  bench = new TortureBench(cluster());
  await bench.start();
  node = new TortureNode(cluster(), "node-1");
  await node.start();
  bench.nodes.push(node);
});
afterAll(async () => {
  await bench.stop();
  process.stdout.write(`${list.join("\n")}\n`);
});

/** A gate that things wait at until the test is over. */
class Stall implements AsyncDisposable {
  readonly #gate = Promise.withResolvers<void>();
  readonly #instances: Instance[] = [];
  readonly reached = Promise.withResolvers<void>();

  /** Holds whoever comes. */
  readonly hold = async (): Promise<void> => {
    this.reached.resolve();
    await this.#gate.promise;
  };

  at(port: string): Hook {
    return async (call) => {
      if (call.port === port && call.when === "before") await this.hold();
    };
  }

  around(direction: "do" | "undo"): Around {
    return async (call, real) => {
      if (call.direction === direction) await this.hold();
      return await real();
    };
  }

  async instance(id: string, options: Partial<InstanceOptions> = {}): Promise<Instance> {
    const instance = await bench.instance({ id, slot: this.#instances.length, ...options });
    this.#instances.push(instance);
    return instance;
  }

  /** Submits an operation, and does not wait for what may be held up. */
  async begin(type: string, input: Record<string, unknown>, options: Partial<InstanceOptions> = {}) {
    const id = newOperationId();
    const instance = await this.instance(id, options);
    const submitted = instance.submit(type, input);
    submitted.catch(() => undefined);
    await waitFor(
      () => bench.entries(id).length > 0,
      SEEN_MS,
      () => `${type} was not accepted`,
    );
    return { id, instance };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#gate.resolve();
    for (const instance of this.#instances) {
      await waitFor(
        () => instance.engine.running === 0,
        3_000,
        () => "",
      ).catch(() => undefined);
      await instance.stop();
    }
  }
}

/** A new file of the node, and what puts it. */
function putFile(): Record<string, unknown> {
  const folder = `etc/why-${++cases}`;
  mkdirSync(path.join(node.identity.root, folder));
  writeFileSync(path.join(node.identity.root, folder, "motd"), "old");
  return { nodes: "node-1", to: `/${folder}/motd`, contentBase64: CONTENT };
}

/** Asks why until the answer names what it should; each single answer has to come at once. */
async function why(
  name: string,
  { id, instance }: { id: string; instance: Instance },
  wanted: Partial<Wait> & object,
  field?: (wait: Wait) => unknown,
) {
  let waits: readonly Wait[] = [];
  let slowest = 0;
  const fits = (wait: Wait) => {
    const matches = Object.entries(wanted).every(([key, value]) =>
      String(wait[key as keyof Wait]).includes(String(value)),
    );
    return matches && (field === undefined || Boolean(field(wait)));
  };
  await waitFor(
    async () => {
      const startedAt = performance.now();
      waits = (await instance.engine.explain(id)).waits as Wait[];
      slowest = Math.max(slowest, performance.now() - startedAt);
      return waits.some(fits);
    },
    SEEN_MS,
    () => `${name}: ${JSON.stringify(waits)} does not name ${JSON.stringify(wanted)}`,
  );
  const found = waits.find(fits);
  list.push(
    `${String(list.length + 1).padStart(2)} ${name.padEnd(44)} ${found?.what} | ${found?.blocker} | ${found?.holder} (${slowest.toFixed(1)} ms)`,
  );
  expect(slowest).toBeLessThan(ANSWER_MS);
  expect(found?.unblocks).toBeTruthy();
}

const LOCKED: readonly (readonly [string, () => readonly [string, Record<string, unknown>]])[] = [
  ["a file", () => ["host.put-file", putFile()]],
  ["a service", () => ["host.restart-service", { node: "node-1", unit: "unit-a" }]],
  ["the power of a node", () => ["host.reboot-nodes", { nodes: "node-1", back: "20s" }]],
  ["maintenance of a node", () => ["maintenance.enable-maintenance", { node: bench.newName().name }]],
  ["maintenance of the cluster", () => ["maintenance.enable-maintenance", { cluster: true }]],
];

test.each(LOCKED)("a lock that another operation holds: %s", async (what, ask) => {
  await using stall = new Stall();
  const [type, input] = ask();
  const holder = await stall.begin(type, input, { around: stall.around("do") });
  await stall.reached.promise;
  const waiter = await stall.begin(type, { ...input, wait: "1m" });

  await why(`lock: ${what}`, waiter, { what: "the lock", blocker: holder.id, holder: "tester" });
  await waiter.instance.engine.control(waiter.id, "cancel", { by: "tester", user: null, reason: null });
});

test("the place in the queue of a lock", async () => {
  await using stall = new Stall();
  const input = putFile();
  await stall.begin("host.put-file", input, { around: stall.around("do") });
  await stall.reached.promise;
  const second = await stall.begin("host.put-file", { ...input, wait: "1m" });
  await why("first in the queue", second, { what: "the lock" });
  const third = await stall.begin("host.put-file", { ...input, wait: "1m" });

  await why("second in the queue", third, { what: "; 1 wait before it" });
  for (const { id, instance } of [third, second])
    await instance.engine.control(id, "cancel", { by: "tester", user: null, reason: null });
});

test("a pause, by whom and why, also while a step still runs", async () => {
  await using stall = new Stall();
  const one = await stall.begin("host.put-file", putFile(), { around: stall.around("do") });
  await stall.reached.promise;
  await one.instance.engine.control(one.id, "pause", { by: "bob", user: null, reason: "lunch" });

  await why("paused by somebody", one, {
    what: "somebody who continues it",
    blocker: "the pause: lunch",
    holder: "bob",
  });
  await why("the step that a pause waits for", one, { what: "step file-", blocker: "node node-1" });
  await one.instance.engine.control(one.id, "continue", { by: "bob", user: null, reason: null });
});

test("a step that takes long, and its undo", async () => {
  await using slow = new Stall();
  await using back = new Stall();
  const doing = await slow.begin("host.put-file", putFile(), { around: slow.around("do") });
  await why("a step that runs", doing, { what: "step file-", blocker: "node node-1" });
  const undoing = await back.begin("host.put-file", putFile(), {
    around: async (call, real) => {
      if (call.direction === "do") throw new DvError("TOOL_FAILED", "the disk is full");
      return await back.around("undo")(call, real);
    },
  });

  await why("an undo that runs", undoing, { what: "the undo of step file-", blocker: "node node-1" });
});

test("a step whose attempts fail, and when it is tried again", async () => {
  await using stall = new Stall();
  const tried =
    (error: DvError): Around =>
    async (call, real) => {
      if (call.direction !== "inspect" && call.direction !== "undo") throw error;
      return await real();
    };
  const patience = { unreachableMs: 8_000, undoMs: 1_000, retryMs: 500 };
  const away = await stall.begin("host.put-file", putFile(), {
    around: tried(new DvError("UNAVAILABLE", "nobody answers for the node")),
    patience,
  });
  await why(
    "a node that does not answer",
    away,
    { blocker: "node node-1: nobody answers" },
    ({ nextTryAt }) => nextTryAt,
  );
  const late = await stall.begin("host.put-file", putFile(), {
    around: tried(new DvError("TIMEOUT", "no answer in time")),
    patience,
  });
  await why(
    "a node that answers too late",
    late,
    { blocker: "node node-1: no answer in time" },
    ({ nextTryAt }) => nextTryAt,
  );
  for (const { id, instance } of [away, late])
    await instance.engine.control(id, "cancel", { by: "tester", user: null, reason: null });
});

test("a node part that is really away", async () => {
  await using stall = new Stall();
  let isStopped = false;
  const one = await stall.begin("host.put-file", putFile(), {
    patience: { unreachableMs: 8_000, undoMs: 1_000, retryMs: 300 },
    around: async (call, real) => {
      if (call.direction === "do" && !isStopped) {
        isStopped = true;
        await node.stopPart();
      }
      return await real();
    },
  });

  await why(
    "a node part that is stopped",
    one,
    { what: "step file-", blocker: "node node-1: " },
    ({ nextTryAt }) => nextTryAt,
  );
  await node.startPart();
});

test("an undo that fails and is tried again, and one that is stuck", async () => {
  await using stall = new Stall();
  let healed = false;
  const around: Around = async (call, real) => {
    if (call.direction === "do") throw new DvError("TOOL_FAILED", "the disk is full");
    if (call.direction === "undo" && !healed) throw new DvError("TOOL_FAILED", "the disk is still full");
    return await real();
  };
  const retried = await stall.begin("host.put-file", putFile(), {
    around,
    patience: { unreachableMs: 500, undoMs: 8_000, retryMs: 400 },
  });
  await why(
    "an undo that is tried again",
    retried,
    { what: "the undo of step", blocker: "the disk is still full" },
    ({ nextTryAt }) => nextTryAt,
  );
  const stuck = await stall.begin("host.put-file", putFile(), {
    around,
    patience: { unreachableMs: 500, undoMs: 100, retryMs: 20 },
  });
  await why("an undo that is stuck", stuck, { what: "a person", blocker: "the disk is still full" });
  healed = true;
  await stuck.instance.engine.control(stuck.id, "continue", { by: "tester", user: null, reason: null });
});

test("an end that is not recorded: the trail, or the locks", async () => {
  for (const [name, port] of [
    ["the outcome in the audit trail", "audit.outcome"],
    ["locks that are given back", "locks.release"],
  ] as const) {
    await using stall = new Stall();
    const one = await stall.begin("host.put-file", putFile(), { hook: stall.at(port) });
    await stall.reached.promise;

    await why(name, one, { what: "its outcome in the audit trail", blocker: "the message bus" });
  }
});

test("an owner that is gone, and software that is too old", async () => {
  await using stall = new Stall();
  const dead = await stall.begin("host.put-file", putFile(), { hook: stall.at("bus.command") });
  await stall.reached.promise;
  const [first] = await bench.journal.read(dead.id);
  const other = { id: dead.id, instance: await stall.instance(dead.id, { isGone: () => true }) };
  await why("an owner that is gone", other, { what: "an instance that adopts it", blocker: "is gone" });
  const id = newOperationId();
  const newer = { ...(JSON.parse(first?.text ?? "{}") as object), operation: id, version: 99, rid: "f".repeat(32) };
  await bench.journal.append(id, JSON.stringify(newer), { expected: 0, id: "f".repeat(32) });

  const foreign = { id, instance: await stall.instance(id, { isGone: () => true }) };

  await why("a version that nobody here knows", foreign, {
    what: "an instance that knows this kind",
    unblocks: "host.put-file version 99",
  });
});

test("at least fifteen stalls were planted", () => {
  expect(list.length).toBeGreaterThanOrEqual(15);
});
