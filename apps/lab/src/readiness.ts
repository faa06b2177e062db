// SPDX-License-Identifier: Apache-2.0
/** When a cluster counts as ready: the gateway says so (it can write), and every node is alive in the registry. */
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
