// SPDX-License-Identifier: Apache-2.0
/** When a cluster counts as ready: the gateway says so (it can write), and every node is alive in the registry. */
import { randomUUID } from "node:crypto";
import { systemClock } from "@debvisor/shared/clock";
import { z } from "zod";

const NodeList = z.object({ items: z.array(z.object({ id: z.string(), state: z.string() })) });
const POLL_MS = 50;

/** Resolves when ready, or when `stopped` says that nobody waits any more. */
export async function waitUntilReady(options: {
  server: string;
  token: string;
  nodes: readonly string[];
  stopped: () => boolean;
}): Promise<void> {
  while (!options.stopped()) {
    if (await isReady(options)) return;
    await systemClock.sleep(POLL_MS);
  }
}

async function isReady({
  server,
  token,
  nodes,
}: {
  server: string;
  token: string;
  nodes: readonly string[];
}): Promise<boolean> {
  try {
    const signal = AbortSignal.timeout(2_000);
    const ready = await fetch(`${server}/readyz`, { signal });
    await ready.body?.cancel();
    if (ready.status !== 200) return false;
    const reply = await fetch(`${server}/v1/nodes?limit=1000`, {
      signal,
      headers: { authorization: `Bearer ${token}` },
    });
    const { items } = NodeList.parse(await reply.json());
    return nodes.every((id) => items.some((node) => node.id === id && node.state === "alive"));
  } catch {
    return false;
  }
}

const Cluster = z.object({ servers: z.object({ declared: z.number() }) });

/** Has the cluster declared to have so many servers, again until it says so, or until `stopped`. */
export async function declareServers(options: {
  server: string;
  token: string;
  servers: number;
  stopped: () => boolean;
}): Promise<void> {
  const { server, token, servers } = options;
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const key = randomUUID();
  while (!options.stopped()) {
    try {
      const signal = AbortSignal.timeout(5_000);
      const reply = await fetch(`${server}/v1/cluster`, { headers, signal });
      if (Cluster.parse(await reply.json()).servers.declared === servers) return;
      const body = JSON.stringify({ servers });
      const asked = await fetch(`${server}/v1/cluster/servers`, {
        method: "POST",
        headers: { ...headers, "idempotency-key": key },
        body,
        signal,
      });
      await asked.body?.cancel();
    } catch {
      // Asked again.
    }
    await systemClock.sleep(200);
  }
}
