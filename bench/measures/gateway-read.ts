// SPDX-License-Identifier: Apache-2.0
/** Reads of one node through the gateway, against a Fastify handler that forwards the same request to the same responder. */
import { join } from "node:path";
import type { BareGateway } from "../bare/gateway.ts";
import { startChild } from "../child.ts";
import { type BenchBus, startBenchBus } from "../environment/bus.ts";
import { mebibytes, residentBytes } from "../environment/limits.ts";
import { startServices } from "../environment/service.ts";
import type { RequestFigures, RequestLoad } from "../load/requests.ts";
import { alternate, type Measure, type MeasureContext, median, round } from "../measure.ts";
import { startFleet } from "../simulator/fleet.ts";

const CONNECTIONS = 32;
const GOAL = 0.75;

export const gatewayRead: Measure = {
  name: "gateway-read",
  summary: `one-node reads over ${CONNECTIONS} connections, against bare Fastify and NATS`,
  async run(context) {
    await using bus = await startBenchBus();
    await using fleet = await startFleet({ agents: 3, servers: bus.servers, issuer: bus.issuer, heartbeatMs: 5_000 });
    await using services = await startServices(bus);
    const [id = ""] = fleet.ids;
    const [metrics, node] = [`/v1/metrics?nodes=${id}`, `/v1/nodes/${id}`];
    await using bare = startChild("bare/gateway.ts", join(bus.logDir, "bare.log"));
    const bareUrl = await bare.call<string>("start", {
      servers: bus.servers,
      nodeDir: bus.nodeDir,
      nodeId: bus.nodeId,
      routes: [
        { path: "/v1/metrics", target: id, service: "node-agent", operation: "get-metrics", input: {} },
        { path: node, target: "core", service: "discovery", operation: "get-node", input: { node: id } },
      ],
    } satisfies BareGateway);
    await using load = startChild("load/requests.ts", join(bus.logDir, "load.log"));
    const run = (request: RequestLoad) => load.call<RequestFigures>("run", request);
    for (const [name, path] of [
      ["fan-out-route", metrics],
      ["core-route", node],
    ] as const) {
      const result = await compare(context, bus, `${bareUrl}${path}`, path, run);
      context.report({
        measure: `gateway-read/${name}`,
        path: path.replace(id, "<id>"),
        ...result,
        gatewayMiB: mebibytes(residentBytes(services.gatewayPid)),
      });
    }
  },
};

async function compare(
  { quick, say }: MeasureContext,
  bus: BenchBus,
  bareUrl: string,
  path: string,
  run: (load: RequestLoad) => Promise<RequestFigures>,
) {
  const seconds = quick ? 1 : 3;
  const rounds = quick ? 1 : 5;
  const shape = { connections: CONNECTIONS, seconds };
  const bare = () => run({ ...shape, url: bareUrl });
  const ours = () =>
    run({ ...shape, url: `${bus.gatewayUrl}${path}`, headers: { authorization: `Bearer ${bus.token}` } });
  // Compiled code and full connection pools are part of the steady state that is measured.
  await bare();
  await ours();
  const results = await alternate(rounds, bare, ours);
  const [bareRate, oursRate] = [median(results.bare.map(rate)), median(results.ours.map(rate))];
  const ratio = median(results.ours.map((figures, i) => rate(figures) / rate(results.bare[i] ?? figures)));
  say(`${path}: bare ${Math.round(bareRate)}/s, ours ${Math.round(oursRate)}/s, ratio ${round(ratio)}`);
  return {
    bare: Math.round(bareRate),
    ours: Math.round(oursRate),
    ratio: round(ratio),
    goal: `>= ${GOAL}`,
    met: ratio >= GOAL && results.ours.every(({ failures }) => failures === 0),
    unit: "requests/s",
    n: rounds,
    connections: CONNECTIONS,
    failures: results.ours.reduce((sum, { failures }) => sum + failures, 0),
    p50Ms: { bare: median(results.bare.map(({ p50 }) => p50)), ours: median(results.ours.map(({ p50 }) => p50)) },
    p99Ms: { bare: median(results.bare.map(({ p99 }) => p99)), ours: median(results.ours.map(({ p99 }) => p99)) },
  };
}

function rate({ perSecond }: RequestFigures): number {
  return perSecond;
}
