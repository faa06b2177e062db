// SPDX-License-Identifier: Apache-2.0
/** The simulator's misbehaving agents end in the census exactly as `expectedCensus` says, through the real gateway. */
import { expect, it } from "vitest";
import { startBenchBus } from "../../../bench/environment/bus.ts";
import { startServices } from "../../../bench/environment/service.ts";
import { expectedCensus, expectedStatus } from "../../../bench/simulator/faults.ts";
import { startFleet } from "../../../bench/simulator/fleet.ts";

/** Longest time of the operation that is asked (get-metrics). */
const TIMEOUT_MS = 5_000;
const SLOW_MS = 300;

it("counts every kind of simulated agent exactly", async () => {
  await using bus = await startBenchBus();
  await using services = await startServices(bus);
  expect(services.gatewayPid).toBeGreaterThan(0);
  const faults = {
    dead: 0.1,
    slow: 0.1,
    silent: 0.1,
    duplicate: 0.1,
    malformed: 0.1,
    failing: 0.05,
    refusing: 0.05,
  };
  await using fleet = await startFleet({
    agents: 100,
    servers: bus.servers,
    issuer: bus.issuer,
    faults,
    slowMs: SLOW_MS,
    perProcess: 50,
  });
  const timing = { slowMs: SLOW_MS, timeoutMs: TIMEOUT_MS };

  const response = await fetch(`${bus.gatewayUrl}/v1/metrics?nodes=all`, {
    headers: { authorization: `Bearer ${bus.token}` },
  });
  const { census, results } = (await response.json()) as {
    census: Record<string, unknown>;
    results: { node: string; status: string }[];
  };

  const { digest: _digest, ...counts } = census;
  expect(counts).toEqual(expectedCensus(fleet.behaviours, timing));
  const statuses = Object.fromEntries(results.map(({ node, status }) => [node, status]));
  expect(statuses).toEqual(
    Object.fromEntries(fleet.ids.map((id, i) => [id, expectedStatus(fleet.behaviours[i] ?? "good", timing)])),
  );
});
