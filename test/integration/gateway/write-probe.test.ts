// SPDX-License-Identifier: Apache-2.0
/** What the gateway says of writes while the one server that is left still leads the stream, as it does for some seconds. */
import { systemClock } from "@debvisor/shared/clock";
import { onTestFinished, test } from "vitest";
import { ProbeRecord, WriteProbe } from "../../../services/gateway/write-probe.ts";
import { randomNodeId, startBusCluster } from "../../support/bus-cluster.ts";
import { waitFor } from "../../support/wait-for.ts";

const STREAM = "KV_dv_tokens";

test("a write that hangs at a leader without others does not count as acknowledged", { timeout: 60_000 }, async () => {
  await using cluster = await startBusCluster({ servers: 3 });
  const bus = await cluster.connectCore("gateway");
  const system = await cluster.connectSystem();
  const { replicas } = await system.replicas();
  await system.close();
  const leader = replicas.find(({ stream, server, leader: name }) => stream === STREAM && server === name)?.server;
  const probe = new WriteProbe({ clock: systemClock, node: randomNodeId(), othersReady: () => Promise.resolve() });
  onTestFinished(() => probe.stop());
  await probe.start(await bus.bucket("dv_tokens", ProbeRecord));

  const others = cluster.servers.filter(({ name }) => name !== leader);
  for (const server of others) server.kill();
  await Promise.all(others.map((server) => server.stop()));

  await waitFor(
    async () => probe.fault !== undefined,
    14_000,
    () => "writes are still said to be acknowledged",
  );
});
