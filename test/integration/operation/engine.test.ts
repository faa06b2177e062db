// SPDX-License-Identifier: Apache-2.0
/** The engine with one kind of operation: what it does, refuses, undoes, and answers. */
import type { Journal } from "@debvisor/shared/bus/bus";
import { DvError } from "@debvisor/shared/errors";
import { describe, expect, test } from "vitest";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { type EngineRig, ended, failing, newWorld, startRigEngine } from "./engine-rig.ts";

const cluster = sharedBusCluster({ servers: 1 });

async function rig(nodes = 1): Promise<EngineRig & AsyncDisposable> {
  const started = await startRigEngine(cluster(), newWorld(cluster(), nodes));
  return { ...started, [Symbol.asyncDispose]: () => started.stop() };
}

describe("an operation that succeeds", () => {
  test("does what its plan says, and says so step by step", async () => {
    await using one = await rig();

    const plan = await one.submit({ nodes: "node-1", value: "new", mode: "plan" });
    expect(plan).toMatchObject({ id: null, state: "planned", mode: "plan" });
    expect(one.world.snapshot()).toEqual({});
    const accepted = await one.submit({ nodes: "node-1", value: "new", plan: plan.plan.digest });
    const done = await ended(one, accepted.id);

    expect(done).toMatchObject({ state: "succeeded", changed: true, undoable: true, result: 1 });
    expect(done.steps).toMatchObject([{ id: "node-1-0", state: "done", attempts: 1 }]);
    expect(one.world.snapshot()).toEqual({ "node-1-0": "new" });
  });

  test("changes nothing when everything is as asked", async () => {
    await using one = await rig();
    one.world.write(one.world.file("node-1", 0), "new");

    const done = await ended(one, (await one.submit({ nodes: "node-1", value: "new" })).id);

    expect(done).toMatchObject({ state: "succeeded", changed: false, steps: [], targets: [{ status: "unchanged" }] });
  });

  test("is undone by a rollback from what it recorded", async () => {
    await using one = await rig();
    one.world.write(one.world.file("node-1", 0), "old");
    const done = await ended(one, (await one.submit({ nodes: "node-1", value: "new", parts: 3 })).id);

    await until(async () => (await one.engine.list().find(({ id }) => id === done.id))?.state === "succeeded");
    await one.engine.control(done.id ?? "", "rollback", { by: "tester", user: null, reason: "no" });
    const back = await ended(one, done.id);

    expect(back.state).toBe("rolled-back");
    expect(one.world.snapshot()).toEqual({ "node-1-0": "old" });
  });

  test("is undone by a rollback although the bus does not answer for a while after it was asked for", async () => {
    const real = (await cluster().connectCore("node-agent")).journal("DV_OPS");
    let awayUntil = 0;
    const journal: Journal = {
      ...{ at: real.at, last: real.last, range: real.range, follow: (options) => real.follow(options) },
      append: async (key, text, options) => {
        const seq = await real.append(key, text, options);
        if (text.includes('"t":"request"')) awayUntil = performance.now() + 600;
        return seq;
      },
      read: async (key) => {
        if (performance.now() < awayUntil) throw new DvError("BUS_UNAVAILABLE", "The bus was killed.");
        return await real.read(key);
      },
    };
    const one = await startRigEngine(cluster(), newWorld(cluster(), 1), { journal });
    await using _ = { [Symbol.asyncDispose]: () => one.stop() };
    const { id } = await ended(one, (await one.submit({ nodes: "node-1", value: "new" })).id);

    await one.engine.control(id ?? "", "rollback", { by: "tester", user: null, reason: "no" });
    await until(async () => (await one.engine.get(id ?? "").catch(() => undefined))?.state === "rolled-back");
    await until(async () => one.engine.locks().length === 0);

    expect(one.world.snapshot()).toEqual({});
  });
});

describe("an operation that fails", () => {
  test("is undone, with the step that may have run", async () => {
    await using one = await rig();
    one.world.write(one.world.file("node-1", 0), "old");
    one.world.trouble.set("node-1-1/do", { after: failing() });

    const done = await ended(one, (await one.submit({ nodes: "node-1", value: "new", parts: 3 })).id);

    expect(done).toMatchObject({ state: "rolled-back", changed: false, error: { code: "TOOL_FAILED" } });
    expect(done.steps.map(({ state }) => state)).toEqual(["undone", "undone", "pending"]);
    expect(one.world.snapshot()).toEqual({ "node-1-0": "old" });
  });

  test("is stuck when the undo fails, and goes on when told to", async () => {
    await using one = await rig();
    one.world.trouble.set("node-1-1/do", { after: failing() });
    one.world.trouble.set("node-1-0/undo", { before: failing("still busy") });

    const stuck = await ended(one, (await one.submit({ nodes: "node-1", value: "new", parts: 2 })).id);
    expect(stuck).toMatchObject({ state: "stuck", repair: `dvctl operations continue ${stuck.id}` });
    expect(one.engine.locks()).toMatchObject([{ operation: stuck.id }]);
    one.world.trouble.clear();
    await one.engine.control(stuck.id ?? "", "continue", { by: "tester", user: null, reason: null });
    const done = await ended(one, stuck.id);

    expect(done.state).toBe("rolled-back");
    expect(one.world.snapshot()).toEqual({});
  });

  test("is stuck after a cancel as well, and a second cancel gives it up", async () => {
    await using one = await rig();
    const gate = Promise.withResolvers<void>();
    one.world.trouble.set("node-1-1/do", { before: () => gate.promise });
    one.world.trouble.set("node-1-0/undo", { before: failing("still busy") });
    const cancel = (id: string) => one.engine.control(id, "cancel", { by: "bob", user: null, reason: null });
    const { id } = await one.submit({ nodes: "node-1", value: "new", parts: 2 });
    await until(async () => (await one.engine.get(id ?? "")).steps[0]?.state === "done");
    await cancel(id ?? "");
    gate.resolve();
    await until(async () => (await one.engine.get(id ?? "")).state === "stuck");
    await cancel(id ?? "");
    await until(async () => (await one.engine.get(id ?? "")).endedAt !== null);

    const given = await one.engine.get(id ?? "");
    expect(given).toMatchObject({ state: "failed", error: { message: expect.stringContaining("Given up by bob") } });
    expect(one.world.snapshot()).toHaveProperty("node-1-0", "new");
    await until(() => Promise.resolve(one.engine.locks().length === 0));
  });

  test("leaves the other targets done, and can be tried again for the failed ones alone", async () => {
    await using one = await rig(4);
    one.world.trouble.set("node-3-0/do", { before: failing() });

    const done = await ended(one, (await one.submit({ nodes: "all", value: "new", stopAfter: 10 })).id);
    expect(done.state).toBe("failed");
    expect(done.targets.map(({ status }) => status)).toEqual(["ok", "ok", "failed", "ok"]);
    one.world.trouble.clear();
    const { contextOf } = await import("./engine-rig.ts");
    const again = await ended(one, (await one.engine.retry(done.id ?? "", contextOf(cluster()))).id);

    expect(again.targets.map(({ name, status }) => [name, status])).toEqual([["node-3", "ok"]]);
  });
});

describe("requests to an operation", () => {
  test("pause holds it between two steps, continue goes on, and why names who paused", async () => {
    await using one = await rig();
    const gate = Promise.withResolvers<void>();
    one.world.trouble.set("node-1-0/do", { after: () => gate.promise });
    const { id } = await one.submit({ nodes: "node-1", value: "new", parts: 2 });

    await one.engine.control(id ?? "", "pause", { by: "bob", user: null, reason: "lunch" });
    gate.resolve();
    await until(async () => (await one.engine.get(id ?? "")).state === "paused");
    expect(one.world.snapshot()).toEqual({ "node-1-0": "new" });
    expect((await one.engine.explain(id ?? "")).waits).toMatchObject([{ holder: "bob", blocker: "the pause: lunch" }]);
    await one.engine.control(id ?? "", "continue", { by: "bob", user: null, reason: null });

    expect((await ended(one, id)).state).toBe("succeeded");
  });

  test("cancel undoes what was done", async () => {
    await using one = await rig();
    const gate = Promise.withResolvers<void>();
    one.world.trouble.set("node-1-1/do", { before: () => gate.promise });
    const { id } = await one.submit({ nodes: "node-1", value: "new", parts: 3 });

    await one.engine.control(id ?? "", "cancel", { by: "bob", user: null, reason: null });
    setTimeout(() => gate.resolve(), 50);
    const done = await ended(one, id);

    expect(done.state).toBe("cancelled");
    await until(() => Promise.resolve(Object.keys(one.world.snapshot()).length === 0));
  });
});

describe("an operation on trial", () => {
  test("stays when it is confirmed", async () => {
    await using one = await rig();
    const { id } = await one.submit({ nodes: "node-1", value: "new", try: "1h" });
    await until(async () => (await one.engine.get(id ?? "")).state === "trying");

    await one.engine.control(id ?? "", "confirm", { by: "tester", user: null, reason: null });

    expect((await ended(one, id)).state).toBe("succeeded");
    expect(one.world.snapshot()).toEqual({ "node-1-0": "new" });
  });

  test("undoes itself when it is not, whoever owns it then", async () => {
    const world = newWorld(cluster());
    const first = await startRigEngine(cluster(), world);
    const second = await startRigEngine(cluster(), world);
    const { id } = await first.submit({ nodes: "node-1", value: "new", try: "5s" });
    await until(async () => (await first.engine.get(id ?? "")).state === "trying");
    await first.stop();

    const done = await ended(second, id);

    expect(done).toMatchObject({ state: "rolled-back", error: { code: "NOT_CONFIRMED" } });
    expect(world.snapshot()).toEqual({});
    await second.stop();
  });
});

describe("a refused operation", () => {
  test("is told from a repeat of another request under the same id", async () => {
    await using one = await rig();
    const first = await ended(one, (await one.submit({ nodes: "node-1", value: "one" })).id);
    const again = { operation: first.id ?? "" };

    expect((await one.submit({ nodes: "node-1", value: "one" }, again)).id).toBe(first.id);
    await expect(one.submit({ nodes: "node-1", value: "two" }, again)).rejects.toMatchObject({
      code: "IDEMPOTENCY_KEY_REUSED",
    });
  });

  test("names every check that failed", async () => {
    await using one = await rig();

    await expect(one.submit({ nodes: "node-1", value: "forbidden" })).rejects.toMatchObject({ code: "CHECK_FAILED" });
  });

  test("finds the world moved since its plan", async () => {
    await using one = await rig();
    const { plan } = await one.submit({ nodes: "node-1", value: "new", mode: "plan" });
    one.world.write(one.world.file("node-1", 0), "other");

    await expect(one.submit({ nodes: "node-1", value: "new", plan: plan.digest })).rejects.toMatchObject({
      code: "PLAN_STALE",
    });
  });

  test("names the holder of the lock, or waits for it", async () => {
    await using one = await rig();
    const gate = Promise.withResolvers<void>();
    one.world.trouble.set("node-1-0/do", { before: () => gate.promise });
    const first = await one.submit({ nodes: "node-1", value: "one" });

    await expect(one.submit({ nodes: "node-1", value: "two" })).rejects.toMatchObject({
      code: "LOCK_HELD",
      details: { holder: { operation: first.id } },
    });
    const waiting = await one.submit({ nodes: "node-1", value: "three", wait: "30s" });
    expect(waiting.state).toBe("queued");
    await until(
      async () => (await one.engine.explain(waiting.id ?? "")).waits[0]?.blocker?.includes(first.id ?? "?") === true,
    );
    gate.resolve();

    expect((await ended(one, waiting.id)).state).toBe("succeeded");
    expect(one.world.snapshot()).toEqual({ "node-1-0": "three" });
  });
});

describe("an operation whose owner dies", () => {
  test("is adopted and finished within 15 s", async () => {
    const world = newWorld(cluster());
    const first = await startRigEngine(cluster(), world);
    const second = await startRigEngine(cluster(), world);
    const gate = Promise.withResolvers<void>();
    world.trouble.set("node-1-1/do", { before: (call) => (call === 1 ? gate.promise : undefined) });
    const { id } = await first.submit({ nodes: "node-1", value: "new", parts: 3 });
    await until(() => Promise.resolve(world.calls.get("node-1-1/do") === 1));

    const startedAt = performance.now();
    await first.stop();
    const done = await ended(second, id);

    expect(performance.now() - startedAt).toBeLessThan(15_000);
    expect(done.state).toBe("succeeded");
    expect(world.snapshot()).toEqual({ "node-1-0": "new", "node-1-1": "new", "node-1-2": "new" });
    gate.resolve();
    await second.stop();
  });
});

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error("waited in vain");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
