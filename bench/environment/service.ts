// SPDX-License-Identifier: Apache-2.0
/** Real services in processes of their own, started as their units start them: `services/<name>/main.ts --node-dir DIR`. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "@debvisor/shared/clock";
import { ROOT } from "../../tools/paths.ts";
import { lastLines, stopProcess } from "../child.ts";
import { stopOnSignal } from "../stop-on-signal.ts";
import type { BenchBus } from "./bus.ts";

/** Gateway and discovery of the bench's node; the gateway is not ready without the other. */
export interface Services extends AsyncDisposable {
  readonly gatewayPid: number;
  readonly discoveryPid: number;
}

const START_LIMIT_MS = 30_000;

/** Starts both; resolves when the gateway says that it is ready. @throws Error with the end of the gateway's log */
export async function startServices(bus: BenchBus): Promise<Services> {
  const [discovery, gateway] = [spawnService(bus, "discovery"), spawnService(bus, "gateway")];
  const stop = async () => {
    forget();
    await Promise.all([stopProcess(discovery), stopProcess(gateway)]);
  };
  const forget = stopOnSignal(stop);
  const deadline = systemClock.monotonic() + START_LIMIT_MS;
  while (!(await isReady(bus.gatewayUrl))) {
    if (gateway.exitCode !== null || discovery.exitCode !== null || systemClock.monotonic() > deadline) {
      await stop();
      throw new Error(`the gateway did not become ready: ${lastLines(logOf(bus, "gateway"))}`);
    }
    await systemClock.sleep(50);
  }
  return { gatewayPid: gateway.pid ?? 0, discoveryPid: discovery.pid ?? 0, [Symbol.asyncDispose]: stop };
}

async function isReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(2_000) });
    await response.body?.cancel();
    return response.status === 200;
  } catch {
    return false;
  }
}

function logOf(bus: BenchBus, name: string): string {
  return join(bus.logDir, `${name}.log`);
}

function spawnService(bus: BenchBus, name: string): ChildProcess {
  const log = openSync(logOf(bus, name), "a");
  // DV_BENCH_PROFILE=gateway leaves a CPU profile of that service in the working directory when it stops.
  const profile = process.env["DV_BENCH_PROFILE"] === name ? ["--cpu-prof", "--cpu-prof-dir=."] : [];
  const main = join(ROOT, "services", name, "main.ts");
  const child = spawn(process.execPath, [...profile, main, "--node-dir", bus.nodeDir], { stdio: ["ignore", log, log] });
  closeSync(log);
  return child;
}
