// SPDX-License-Identifier: Apache-2.0
/** The loops with a clock that the test moves and a bus that the test plays; the host is the real one. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Health, Heartbeat, Metrics } from "@debvisor/proto-events/node-agent";
import { type Clock, systemClock } from "@debvisor/shared/clock";
import { silentLogger } from "@debvisor/shared/log";
import type { NodeIdentity, ServiceContext } from "@debvisor/shared/service";
import { afterAll, expect, test, vi } from "vitest";
import { type NodeAgentConfig, nodeAgentConfig } from "../config.ts";
import { createHost } from "../host.ts";
import { groupsOf, runHealthCheck } from "../operations/check-health.ts";
import { getFactsHandler } from "../operations/get-facts.ts";
import { nodeAgentService } from "../service.ts";
import { createHealthWatch } from "./health-watch.ts";
import { createHeartbeat } from "./heartbeat.ts";
import { createMetricsLoop } from "./metrics.ts";
import { repeat, within } from "./repeat.ts";

const folder = mkdtempSync(join(tmpdir(), "dv-agent-"));
mkdirSync(join(folder, "root"));
mkdirSync(join(folder, "state"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const config = nodeAgentConfig.parse({ heartbeatMs: 100, metricsMs: 100, refreshMs: 100, natsServerPath: "/bin/true" });
const log = silentLogger();
const node: NodeIdentity = {
  id: "abcdefghijklmnop",
  name: "node-1",
  roles: ["worker"],
  cluster: "test",
  version: "0.1.0",
  bootId: "boot-1",
  root: join(folder, "root"),
  dir: join(folder, "node"),
  stateDir: join(folder, "state"),
  addresses: ["127.0.0.1"],
  advertiseKey: new Uint8Array(32),
  trust: { operator: "", accounts: [] },
};
const never = new Promise<never>(() => undefined);

/** A clock whose time moves by what is slept, so that a loop runs through hours at once. */
function steppingClock(onSleep: (atMs: number) => void = () => undefined): Clock {
  let nowMs = 0;
  return {
    now: () => nowMs,
    monotonic: () => nowMs,
    sleep: async (ms) => {
      nowMs += ms;
      onSleep(nowMs);
      await Promise.resolve();
    },
  };
}

/** A bus that records what is published. */
function recordingBus() {
  const sent: { what: string; payload: unknown }[] = [];
  return {
    sent,
    of: (what: string) => sent.filter((message) => message.what === what).map(({ payload }) => payload),
    connected: true,
    rtt: () => Promise.resolve(0.5),
    publishTelemetry: (_contract: unknown, what: string, payload: unknown) => void sent.push({ what, payload }),
    publishEvent: (_contract: unknown, what: string, payload: unknown): Promise<never> => {
      sent.push({ what, payload });
      return Promise.resolve({}) as Promise<never>;
    },
  };
}

test("repeats at a fixed rate, leaves missed beats out, and tells an error once", async () => {
  const stop = new AbortController();
  const runs: number[] = [];
  const errors: unknown[] = [];
  const clock = steppingClock((atMs) => atMs >= 1_000 && stop.abort());

  await repeat(
    { clock, everyMs: 100, firstAfterMs: 50, signal: stop.signal, onError: (error) => errors.push(error) },
    async () => {
      runs.push(clock.monotonic());
      if (runs.length === 2) await clock.sleep(250);
      if (runs.length >= 3) throw new Error("again");
    },
  );

  expect(runs).toEqual([50, 150, 450, 550, 650, 750, 850, 950]);
  expect(errors).toHaveLength(1);
});

test("waits no longer than allowed, and takes a rejection as no answer", async () => {
  expect(await within(systemClock, 5, never)).toBeUndefined();
  expect(await within(systemClock, 1_000, Promise.reject(new Error("no")))).toBeUndefined();
  expect(await within(systemClock, 1_000, Promise.resolve(7))).toBe(7);
});

test("sends valid heartbeats that count up, the first at once", async () => {
  const bus = recordingBus();
  const stop = new AbortController();
  const loop = createHeartbeat({
    node,
    config,
    clock: systemClock,
    log,
    bus,
    host: createHost(node, config),
    verdict: () => "degraded",
  });

  const running = loop.run(stop.signal);
  await vi.waitFor(() => expect(bus.of("heartbeat").length).toBeGreaterThanOrEqual(3), { interval: 10 });
  stop.abort();
  await running;

  const beats = bus.of("heartbeat").map((beat) => Heartbeat.parse(beat));
  expect(beats.map(({ sequence }) => sequence)).toEqual(beats.map((_, index) => index));
  expect(beats[0]).toMatchObject({ node: node.id, bootId: "boot-1", metrics: { busRttMs: 0.5 } });
  expect(["warn", "error"]).toContain(beats[0]?.metrics.overall);
  expect(loop.sent()).toBe(beats.length);
});

test("sends heartbeats although bus and disks do not answer", async () => {
  const bus = { ...recordingBus(), rtt: () => never };
  const stop = new AbortController();
  const host = { ...createHost(node, config), rooms: () => never, ownRooms: () => never };
  const loop = createHeartbeat({ node, config, clock: systemClock, log, bus, host, verdict: () => undefined });

  const running = loop.run(stop.signal);
  await vi.waitFor(() => expect(bus.of("heartbeat").length).toBeGreaterThanOrEqual(3), { interval: 10 });
  stop.abort();
  void running;

  expect(Heartbeat.parse(bus.of("heartbeat")[0]).metrics).toMatchObject({ diskPercent: 0, busRttMs: 0 });
});

test("sends valid metrics, and reads do not shift the samples", async () => {
  const bus = recordingBus();
  const stop = new AbortController();
  const loop = createMetricsLoop({ config, clock: systemClock, log, bus, host: createHost(node, config) });

  const first = Metrics.parse(await loop.read());
  const running = loop.run(stop.signal);
  await vi.waitFor(() => expect(bus.of("metrics").length).toBeGreaterThanOrEqual(2), { interval: 10 });
  stop.abort();
  await running;

  expect(first.networks.every(({ receivedBytesPerSecond }) => receivedBytesPerSecond === 0)).toBe(true);
  expect(bus.of("metrics").map((metrics) => Metrics.safeParse(metrics).success)).not.toContain(false);
});

test("publishes a change of the verdict once it is acknowledged, and not twice", async () => {
  const stop = new AbortController();
  const clock = steppingClock((atMs) => atMs > 6 * config.healthEveryMs && stop.abort());
  const verdicts = ["healthy", "healthy", "unhealthy", "unhealthy", "unhealthy", "healthy"] as const;
  const published: unknown[] = [];
  let round = 0;
  let refusals = 1;
  const watch = createHealthWatch({
    node,
    config,
    clock,
    log,
    bus: {
      publishEvent: (_contract, _event, payload) => {
        if (round === 3 && refusals-- > 0) return Promise.reject(new Error("no quorum"));
        published.push(payload);
        return Promise.resolve({}) as Promise<never>;
      },
    },
    check: () =>
      Promise.resolve({ verdict: verdicts[round++] ?? "healthy", checks: [], score: 0 } as unknown as Health),
  });

  await watch.run(stop.signal);

  expect(published).toMatchObject([
    { from: null, to: "healthy" },
    { from: "healthy", to: "unhealthy" },
    { from: "unhealthy", to: "healthy" },
  ]);
  expect(watch.verdict()).toBe("healthy");
});

test("is healthy with the full score on the machine that runs the tests", async () => {
  const deps = { node, config, clock: systemClock, bus: recordingBus(), host: createHost(node, config) };

  const health = Health.parse(await runHealthCheck(deps, { quick: false }, AbortSignal.timeout(10_000)));

  const wrong = health.checks.filter(
    ({ status, group }) => (status === "warned" || status === "failed") && group !== "resources",
  );
  expect(wrong).toEqual([]);
  expect(new Set(health.checks.map(({ id }) => id)).size).toBe(health.checks.length);
});

test("fails each group that is not done by the deadline, and answers", async () => {
  const bus = { ...recordingBus(), rtt: () => never };
  const short: NodeAgentConfig = { ...config, healthTimeoutMs: 100 };
  const deps = { node, config: short, clock: systemClock, bus, host: createHost(node, short) };

  const health = await runHealthCheck(deps, { quick: false, only: ["connectivity"] }, AbortSignal.timeout(10_000));
  const aborted = await runHealthCheck(deps, { quick: false, only: ["resources"] }, AbortSignal.abort());

  expect(health.checks).toMatchObject([{ id: "connectivity.deadline", status: "failed" }]);
  expect(health.ms).toBeLessThan(1_500);
  expect(aborted.checks).toMatchObject([{ id: "resources.deadline" }]);
});

test("turns a group that breaks into one failed check", async () => {
  const host = createHost(node, config);
  const broken = { ...host, ownRooms: () => Promise.reject(new Error("impossible")) };
  const deps = { node, config, clock: systemClock, bus: recordingBus(), host: broken };

  const health = await runHealthCheck(deps, { quick: false, only: ["resources"] }, AbortSignal.timeout(10_000));

  expect(health.checks).toMatchObject([{ id: "resources.broken", status: "failed" }]);
});

test("runs the groups asked for in the report's order", () => {
  expect(groupsOf({ quick: true })).toEqual(["binaries", "services"]);
  expect(groupsOf({ quick: true, only: ["permissions", "connectivity", "permissions"] })).toEqual([
    "connectivity",
    "permissions",
  ]);
  expect(groupsOf({ quick: false })).toHaveLength(7);
});

test("finds a broken configuration file of a node by line and key", async () => {
  const root = join(folder, "root-with-fault");
  mkdirSync(join(root, "etc/debvisor"), { recursive: true });
  const { writeFileSync } = await import("node:fs");
  writeFileSync(join(root, "etc/debvisor/node-agent.yaml"), "heartbeatMs: 2000\nheartbeatms: 1\n");
  const lab = { ...node, root };
  const deps = { node: lab, config, clock: systemClock, bus: recordingBus(), host: createHost(lab, config) };

  const { checks } = await runHealthCheck(deps, { quick: false, only: ["configuration"] }, AbortSignal.timeout(10_000));

  expect(checks).toMatchObject([
    { id: "configuration./etc/debvisor/node-agent.yaml", status: "failed" },
    { id: "configuration.preseed", status: "skipped" },
    { id: "configuration.inventory", status: "skipped" },
  ]);
  expect(checks[0]?.message).toContain("line 2, key heartbeatms");
});

test("collects facts that fit the contract", async () => {
  const { Facts } = await import("@debvisor/proto-events/node-agent");
  const handler = getFactsHandler({ host: createHost(node, config), clock: systemClock, version: "0.1.0" });

  const facts = Facts.parse(await handler({}, { signal: AbortSignal.timeout(10_000) }));

  expect(facts.interfaces.some(({ addresses }) => addresses.includes("127.0.0.1/8"))).toBe(true);
  expect(Object.keys(facts.tools)).toContain("nats-server");
});

test("stops within its time although the bus never answers", async () => {
  const bus = {
    ...recordingBus(),
    rtt: () => never,
    publishEvent: () => never,
    serve: () => Promise.resolve({ stop: () => never }),
    onRefused: () => undefined,
  };
  const context = {
    config,
    log,
    clock: systemClock,
    node,
    nodeBus: bus,
    coreBus: undefined,
  } as unknown as ServiceContext<NodeAgentConfig>;

  const service = await nodeAgentService.start(context);
  expect(service.ready()).toBe("the first heartbeat");
  await vi.waitFor(() => expect(service.ready()).toBeUndefined(), { interval: 10 });
  const startedAt = performance.now();
  await service.stop();

  expect(performance.now() - startedAt).toBeLessThan(2_500);
});
