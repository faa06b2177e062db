// SPDX-License-Identifier: Apache-2.0
/** Publishes events as a node does: under the node's credential, each acknowledged by the stream. */
import { nodeAgentContract } from "@debvisor/proto-events/node-agent";
import { type ConnectedBus, connectBus } from "@debvisor/shared/bus/connect";
import type { Credential } from "@debvisor/shared/bus/trust";
import { silentLogger } from "@debvisor/shared/log";
import { answerParent } from "../child.ts";
import { inParallel } from "../parallel.ts";

const AT_ONCE = 256;

let bus: ConnectedBus;
let node: { id: string; name: string };

answerParent({
  start: async (input: { servers: string[]; credential: Credential; node: { id: string; name: string } }) => {
    ({ node } = input);
    const { servers, credential } = input;
    bus = await connectBus({ servers, credential, origin: node.id, node, version: "0.1.0", log: silentLogger() });
  },
  /** Publishes so many events; milliseconds until the last acknowledgement. */
  publish: async (count: number): Promise<number> => {
    const from = performance.now();
    const payload = { node: node.id, name: node.name, from: "healthy", to: "degraded", failed: ["services.zfs-zed"] };
    await inParallel(Array.from({ length: count }), AT_ONCE, () =>
      bus.publishEvent(nodeAgentContract, "health.changed", payload, { subject: node.id }),
    );
    return performance.now() - from;
  },
});
