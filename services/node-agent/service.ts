// SPDX-License-Identifier: Apache-2.0
/**
 * The node agent's table of contents: what it says of the host, orders that change the host, a heartbeat, metrics, a watch
 * over health, two announcements.
 */
import process from "node:process";
import { nodeAgentContract } from "@debvisor/proto-events/node-agent";
import { defineService } from "@debvisor/shared/service";
import { nodeAgentConfig } from "./config.ts";
import { startCore } from "./core.ts";
import { createHost } from "./host.ts";
import { serveOrders } from "./node-orders.ts";
import { checkHealthHandler, runHealthCheck } from "./operations/check-health.ts";
import { getFactsHandler } from "./operations/get-facts.ts";
import { getMetricsHandler } from "./operations/get-metrics.ts";
import { createHealthWatch } from "./reconcilers/health-watch.ts";
import { createHeartbeat } from "./reconcilers/heartbeat.ts";
import { createMetricsLoop } from "./reconcilers/metrics.ts";
import { createPresence } from "./reconcilers/presence.ts";
import { within } from "./reconcilers/repeat.ts";

/** Longest time that stopping waits for requests and loops that are under way; announcing the end has its own second. */
const DRAIN_MS = 1_500;

/** Facts, metrics and health of the host that it runs on. */
export const nodeAgentService = defineService({
  name: "node-agent",
  config: nodeAgentConfig,
  start: async ({ config, clock, log, node, nodeBus: bus, coreBus }) => {
    const host = createHost(node, config, clock);
    const health = { node, config, clock, bus, host };
    const watch = createHealthWatch({
      node,
      config,
      clock,
      log,
      bus,
      check: (signal) => runHealthCheck(health, { quick: false }, signal),
    });
    const heartbeat = createHeartbeat({ node, config, clock, log, bus, host, verdict: watch.verdict });
    const metrics = createMetricsLoop({ config, clock, log, bus, host });
    const presence = createPresence({ bus, node, clock, log, pid: process.pid });

    const operations = await bus.serve(nodeAgentContract, "node", {
      getFacts: getFactsHandler({ host, clock, version: node.version }),
      getMetrics: getMetricsHandler({ metrics }),
      checkHealth: checkHealthHandler(health),
    });
    const orders = await serveOrders({ node, bus, clock, log, host, config });
    const core = coreBus && startCore({ clock, log, node }, coreBus);
    const stopping = new AbortController();
    const loops = [heartbeat, metrics, watch].map((loop) => loop.run(stopping.signal));
    // Not among the loops: an attempt waits up to a minute for its acknowledgement, which stopping does not wait for.
    void presence.announce(stopping.signal);
    return {
      ready: () => (heartbeat.sent() > 0 ? core?.waitsFor() : "the first heartbeat"),
      stop: async () => {
        stopping.abort();
        await Promise.all([
          presence.leave(),
          core?.stop(),
          within(clock, DRAIN_MS, operations.stop()),
          orders.stop(),
          within(clock, DRAIN_MS, Promise.all(loops)),
        ]);
      },
    };
  },
});
