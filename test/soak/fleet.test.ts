// SPDX-License-Identifier: Apache-2.0
/** Ten thousand simulated agents, some of them faulty, asked again and again through the gateway: the census is exact each time. */
import { expect, test } from "vitest";
import { startBenchBus } from "../../bench/environment/bus.ts";
import { startServices } from "../../bench/environment/service.ts";
import { expectedCensus } from "../../bench/simulator/faults.ts";
import { startFleet } from "../../bench/simulator/fleet.ts";

const AGENTS = 10_000;
const ROUNDS = 100;
const SLOW_MS = 300;
/** Longest time of the operation that is asked (get-metrics). */
const TIMEOUT_MS = 5_000;

test("a hundred fan-outs to ten thousand agents end in the exact census", async () => {
  await using bus = await startBenchBus();
  await using services = await startServices(bus);
  const faults = { dead: 0.01, slow: 0.01, duplicate: 0.01, malformed: 0.005, failing: 0.005, refusing: 0.005 };
  await using fleet = await startFleet({
    agents: AGENTS,
    servers: bus.servers,
    issuer: bus.issuer,
    faults,
    slowMs: SLOW_MS,
  });
  const wanted = expectedCensus(fleet.behaviours, { slowMs: SLOW_MS, timeoutMs: TIMEOUT_MS });
  const times: number[] = [];

  for (let round = 0; round < ROUNDS; round++) {
    const startedAt = performance.now();
    const response = await fetch(`${bus.gatewayUrl}/v1/metrics?nodes=all`, {
      headers: { authorization: `Bearer ${bus.token}` },
    });
    const { census } = (await response.json()) as { census: Record<string, unknown> };
    times.push(performance.now() - startedAt);
    const { digest: _digest, ...counts } = census;
    expect(counts).toEqual(wanted);
  }

  times.sort((a, b) => a - b);
  console.info(
    `${ROUNDS} rounds, median ${Math.round(times[ROUNDS / 2] ?? 0)} ms, gateway process ${services.gatewayPid}`,
  );
});
