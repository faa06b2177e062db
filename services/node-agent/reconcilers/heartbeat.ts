// SPDX-License-Identifier: Apache-2.0
/**
 * The heartbeat. Sending one reads only tables that the kernel answers from memory; what may block (room on disks, the
 * round trip to the bus) is read by a loop of its own, and the heartbeat carries the last known value. So a hanging disk
 * or a slow server makes a heartbeat older in content, never late.
 */
import { type Heartbeat, nodeAgentContract } from "@debvisor/proto-events/node-agent";
import type { Bus } from "@debvisor/shared/bus/bus";
import { type Clock, timestamp } from "@debvisor/shared/clock";
import type { Logger } from "@debvisor/shared/log";
import type { NodeIdentity } from "@debvisor/shared/service";
import type { NodeAgentConfig } from "../config.ts";
import type { Host } from "../host.ts";
import { type FileSystem, fullestPercent } from "../model/mounts.ts";
import { cpuPercent, percent } from "../model/rates.ts";
import { resourceChecks } from "../model/storage-checks.ts";
import { overallOf, type Verdict, verdictOf, worseOf } from "../model/verdict.ts";
import { repeat, within } from "./repeat.ts";

/** How long the first heartbeat waits for the first disk and bus figures. */
const FIRST_FIGURES_MS = 250;
const RTT_TIMEOUT_MS = 2_000;

/** What the heartbeat needs. */
export interface HeartbeatDeps {
  readonly node: NodeIdentity;
  readonly config: NodeAgentConfig;
  readonly clock: Clock;
  readonly log: Pick<Logger, "warn">;
  readonly bus: Pick<Bus, "publishTelemetry" | "rtt">;
  readonly host: Pick<Host, "proc" | "threads" | "rooms" | "ownRooms">;
  /** Verdict of the last health check. */
  readonly verdict: () => Verdict | undefined;
}

/** The loop that sends heartbeats. */
export interface HeartbeatLoop {
  /** Number of heartbeats sent. */
  readonly sent: () => number;
  /** Sends the first heartbeat at once and further ones at the configured rate, until the signal aborts. Never rejects. */
  run(signal: AbortSignal): Promise<void>;
}

/** Makes the loop. Its first processor figure is the average since boot, as there is no earlier reading. */
export function createHeartbeat(deps: HeartbeatDeps): HeartbeatLoop {
  const { node, config, clock, log, bus, host } = deps;
  let sequence = 0;
  let cpuBefore = { total: 0, busy: 0 };
  let rttMs = 0;
  let rooms: readonly FileSystem[] = [];
  let ownRooms: readonly FileSystem[] = [];

  const readRtt = async () => {
    rttMs = (await within(clock, RTT_TIMEOUT_MS, bus.rtt())) ?? rttMs;
  };
  const readRooms = async () => {
    [{ rooms }, { rooms: ownRooms }] = await Promise.all([host.rooms(), host.ownRooms()]);
  };
  const refresh = async () => void (await Promise.all([readRtt(), readRooms()]));
  const beat = () => {
    const cpu = host.proc.cpuTimes();
    const memory = host.proc.memory();
    const load = host.proc.loadAverage();
    const resources = resourceChecks({ fileSystems: ownRooms, memory, load, threads: host.threads }, config);
    const heartbeat: Heartbeat = {
      node: node.id,
      name: node.name,
      roles: [...node.roles],
      version: node.version,
      addresses: node.addresses.slice(0, 64),
      bootId: node.bootId,
      sequence,
      time: timestamp(clock),
      metrics: {
        overall: worseOf(overallOf(verdictOf(resources)), overallOf(deps.verdict())),
        load1: load[0],
        cpuPercent: cpuPercent(cpuBefore, cpu),
        memoryPercent: memory.totalBytes > 0 ? percent(1 - memory.availableBytes / memory.totalBytes) : 0,
        diskPercent: fullestPercent(rooms),
        busRttMs: Math.round(rttMs * 1000) / 1000,
      },
    };
    cpuBefore = cpu;
    bus.publishTelemetry(nodeAgentContract, "heartbeat", heartbeat);
    sequence++;
  };
  return {
    sent: () => sequence,
    run: async (signal) => {
      const onError = (error: unknown) => log.warn({ err: error }, "a heartbeat could not be sent");
      const first = refresh();
      await within(clock, FIRST_FIGURES_MS, first);
      await Promise.all([
        repeat({ clock, everyMs: config.heartbeatMs, signal, onError }, beat),
        repeat({ clock, everyMs: config.refreshMs, firstAfterMs: config.refreshMs, signal, onError }, refresh),
      ]);
    },
  };
}
