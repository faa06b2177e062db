// SPDX-License-Identifier: Apache-2.0
/** Reads of one node through the gateway, against a Fastify handler that forwards the same request to the same responder. */
import { join } from "node:path";
import type { BareGateway } from "../bare/gateway.ts";
import { type Child, startChild } from "../child.ts";
import { startBenchBus } from "../environment/bus.ts";
import { mebibytes, processorMs, residentBytes } from "../environment/limits.ts";
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
    const sides: Sides = {
      bare: { url: bareUrl, pid: bare.pid },
      ours: { url: bus.gatewayUrl, pid: services.gatewayPid, token: bus.token },
    };
    for (const [name, path] of [
      ["fan-out-route", metrics],
      ["core-route", node],
    ] as const) {
      const result = await compare(context, sides, path, load);
      context.report({
        measure: `gateway-read/${name}`,
        path: path.replace(id, "<id>"),
        ...result,
        gatewayMiB: mebibytes(residentBytes(services.gatewayPid)),
      });
    }
  },
};

interface Sides {
  readonly bare: { readonly url: string; readonly pid: number };
  readonly ours: { readonly url: string; readonly pid: number; readonly token: string };
}

interface Run extends RequestFigures {
  /** Processor time of the gateway process for one request, in microseconds. */
  readonly cpu: number;
}

async function compare({ quick, say }: MeasureContext, { bare, ours }: Sides, path: string, load: Child) {
  const shape = { connections: CONNECTIONS, seconds: quick ? 1 : 2 };
  const rounds = quick ? 1 : 9;
  const run = async (pid: number, request: RequestLoad): Promise<Run> => {
    const before = processorMs(pid);
    const figures = await load.call<RequestFigures>("run", request);
    const requests = figures.perSecond * shape.seconds;
    return { ...figures, cpu: ((processorMs(pid) - before) * 1_000) / requests };
  };
  const askBare = () => run(bare.pid, { ...shape, url: `${bare.url}${path}` });
  const headers = { authorization: `Bearer ${ours.token}` };
  const askOurs = () => run(ours.pid, { ...shape, url: `${ours.url}${path}`, headers });
  // Compiled code and full connection pools are part of the steady state that is measured.
  await askBare();
  await askOurs();
  const results = await alternate(rounds, askBare, askOurs);
  const of = (side: keyof Sides, figure: (run: Run) => number) => median(results[side].map(figure));
  const ratio = of("ours", ({ perSecond }) => perSecond) / of("bare", ({ perSecond }) => perSecond);
  const failures = results.ours.reduce((sum, figures) => sum + figures.failures, 0);
  say(`${path}: ratio ${round(ratio)}`);
  const both = (figure: (run: Run) => number) => ({ bare: round(of("bare", figure)), ours: round(of("ours", figure)) });
  const cpu = both((figures) => figures.cpu);
  return {
    bare: Math.round(of("bare", ({ perSecond }) => perSecond)),
    ours: Math.round(of("ours", ({ perSecond }) => perSecond)),
    ratio: round(ratio),
    goal: `>= ${GOAL}`,
    met: ratio >= GOAL && failures === 0,
    unit: "requests/s",
    n: rounds,
    connections: CONNECTIONS,
    failures,
    p50Ms: both(({ p50 }) => p50),
    p99Ms: both(({ p99 }) => p99),
    gatewayMicrosecondsPerRequest: cpu,
    processorRatio: round(cpu.bare / cpu.ours),
  };
}
