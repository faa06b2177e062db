// SPDX-License-Identifier: Apache-2.0
/** A trace goes on across the bus: the span of whoever answers is exported under the ids that came in the request's headers. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { nodeAgentContract } from "@debvisor/proto-events/node-agent";
import { startTracing } from "@debvisor/shared/telemetry";
import { expect, test } from "vitest";
import { startBusCluster } from "../../support/bus-cluster.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";

test("the span of an operation on a node reaches the collector under the caller's trace id", async () => {
  const bodies: Buffer[] = [];
  const collector = createServer((request, response) => {
    request.on("data", (chunk: Buffer) => bodies.push(chunk)).on("end", () => response.end());
  });
  await new Promise<void>((resolve) => collector.listen(0, "127.0.0.1", resolve));
  const endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
  process.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint;
  try {
    await using cluster = await startBusCluster({ servers: 1 });
    const tracing = await startTracing({ service: "node-agent", instance: "test", version: "0.1.0" });
    const node = await cluster.connectNode(undefined, { tracing });
    const fail = () => {
      throw new Error("not asked here");
    };
    const metrics = { collectedAt: new Date().toISOString() } as never;
    await node.serve(nodeAgentContract, "node", { getFacts: fail, checkHealth: fail, getMetrics: () => metrics });
    const gateway = await cluster.connectCore("gateway");

    const traceparent = `00-${TRACE}-00f067aa0ba902b7-01`;
    await gateway.requestRaw(node.user, "node-agent", "get-metrics", {}, { timeoutMs: 2_000, traceparent });
    await tracing.stop();

    // Protobuf: ids are raw bytes, names are plain text.
    const sent = Buffer.concat(bodies);
    expect(sent.includes(Buffer.from(TRACE, "hex"))).toBe(true);
    expect(sent.includes("node-agent.get-metrics")).toBe(true);
  } finally {
    delete process.env["OTEL_EXPORTER_OTLP_ENDPOINT"];
    collector.close();
  }
}, 30_000);
