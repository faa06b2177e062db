// SPDX-License-Identifier: Apache-2.0
/** Real services in processes of their own, started as their units start them: `services/<name>/main.ts --node-dir DIR`. */
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "@debvisor/shared/clock";
import { ROOT } from "../../tools/paths.ts";
import { lastLines, stopProcess } from "../child.ts";
import type { BenchBus } from "./bus.ts";

/** A service that runs. */
export interface ServiceProcess extends AsyncDisposable {
  readonly pid: number;
}

const START_LIMIT_MS = 30_000;

/** Starts the gateway; resolves when it says that it is ready. @throws Error with the end of its log */
export function startGateway(bus: BenchBus): Promise<ServiceProcess> {
  return startService(bus, "gateway", async () => (await fetch(`${bus.gatewayUrl}/readyz`)).status === 200);
}

/** Starts discovery; resolves when a request through the gateway finds the node. @throws Error with the end of its log */
export function startDiscovery(bus: BenchBus, nodeId: string): Promise<ServiceProcess> {
  const headers = { authorization: `Bearer ${bus.token}` };
  return startService(
    bus,
    "discovery",
    async () => (await fetch(`${bus.gatewayUrl}/v1/nodes/${nodeId}`, { headers })).status === 200,
  );
}

async function startService(bus: BenchBus, name: string, isReady: () => Promise<boolean>): Promise<ServiceProcess> {
  const logFile = join(bus.logDir, `${name}.log`);
  const log = openSync(logFile, "a");
  // DV_BENCH_PROFILE=gateway writes a CPU profile of that service into the working directory when it stops.
  const profile = process.env["DV_BENCH_PROFILE"] === name ? ["--cpu-prof", "--cpu-prof-dir=."] : [];
  const main = join(ROOT, "services", name, "main.ts");
  const child = spawn(process.execPath, [...profile, main, "--node-dir", bus.nodeDir], { stdio: ["ignore", log, log] });
  closeSync(log);
  const deadline = systemClock.monotonic() + START_LIMIT_MS;
  while (!(await isReady().catch(() => false))) {
    if (child.exitCode !== null || systemClock.monotonic() > deadline) {
      await stopProcess(child);
      throw new Error(`${name} did not become ready: ${lastLines(logFile)}`);
    }
    await systemClock.sleep(50);
  }
  return { pid: child.pid ?? 0, [Symbol.asyncDispose]: () => stopProcess(child) };
}
