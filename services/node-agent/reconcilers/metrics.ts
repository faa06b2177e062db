// SPDX-License-Identifier: Apache-2.0
/** Samples the host's counters, sends them as telemetry, and answers reads with the rates since the last sample. */
import { type Metrics, nodeAgentContract } from "@debvisor/proto-events/node-agent";
import type { Bus } from "@debvisor/shared/bus/bus";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import type { Logger } from "@debvisor/shared/log";
import type { NodeAgentConfig } from "../config.ts";
import type { Host } from "../host.ts";
import { usedPercent } from "../model/mounts.ts";
import { type CounterSample, ratesBetween } from "../model/rates.ts";
import { repeat } from "./repeat.ts";

/** Below this distance two samples say little; the rates of the last full interval are given instead. */
const SHORTEST_WINDOW_MS = 500;

/** What the sampling needs. */
export interface MetricsDeps {
  readonly config: NodeAgentConfig;
  readonly clock: Clock;
  readonly log: Pick<Logger, "warn">;
  readonly bus: Pick<Bus, "publishTelemetry">;
  readonly host: Pick<Host, "proc" | "sys" | "rooms">;
}

/** The loop that sends metrics. */
export interface MetricsLoop {
  /** Figures of this moment. Reading does not shift the samples of the telemetry. */
  read(): Promise<Metrics>;
  /** Sends metrics at the configured rate until the signal aborts. Never rejects. */
  run(signal: AbortSignal): Promise<void>;
}

/** Makes the loop and takes the first sample. */
export function createMetricsLoop({ config, clock, log, bus, host }: MetricsDeps): MetricsLoop {
  let diskNames: ReadonlySet<string> = new Set();
  const takeSample = (): CounterSample => ({
    atMs: clock.monotonic(),
    cpu: host.proc.cpuTimes(),
    disks: new Map([...host.proc.disks()].filter(([name]) => diskNames.has(name))),
    networks: new Map([...host.proc.networks()].filter(([, link]) => link.receivedBytes + link.sentBytes > 0)),
  });
  let last = takeSample();
  let lastRates = ratesBetween({ ...last, cpu: { total: 0, busy: 0 } }, last);

  const measure = async (keep: boolean): Promise<Metrics> => {
    diskNames = new Set(await host.sys.diskNames());
    const { rooms } = await host.rooms();
    const sample = takeSample();
    const rates = sample.atMs - last.atMs < SHORTEST_WINDOW_MS ? lastRates : ratesBetween(last, sample);
    if (keep) [last, lastRates] = [sample, rates];
    const memory = host.proc.memory();
    return {
      collectedAt: timestamp(clock),
      load: [...host.proc.loadAverage()],
      cpuPercent: rates.cpuPercent,
      memory: {
        totalBytes: memory.totalBytes,
        usedBytes: Math.max(memory.totalBytes - memory.availableBytes, 0),
        swapUsedBytes: Math.max(memory.swapTotalBytes - memory.swapFreeBytes, 0),
      },
      disks: rates.disks,
      networks: rates.networks,
      fileSystems: rooms.map((room) => ({ mount: room.mount, usedPercent: usedPercent(room) })),
      uptimeSeconds: host.proc.uptimeSeconds(),
    };
  };
  return {
    read: () => measure(false),
    run: (signal) =>
      repeat(
        {
          clock,
          everyMs: config.metricsMs,
          firstAfterMs: config.metricsMs,
          signal,
          onError: (error) => log.warn({ err: error }, "metrics could not be sent"),
        },
        async () => bus.publishTelemetry(nodeAgentContract, "metrics", await measure(true)),
      ),
  };
}
