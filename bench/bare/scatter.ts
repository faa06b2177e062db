// SPDX-License-Identifier: Apache-2.0
/** The bare scatter: one request to each node on raw NATS, and a count of what comes back. */
import { inboxPrefix, rpcSubject } from "@debvisor/proto-events/subjects";
import { connectBus } from "@debvisor/shared/bus/connect";
import { silentLogger } from "@debvisor/shared/log";
import { readCredential } from "@debvisor/shared/node-files";
import type { NatsConnection } from "@nats-io/nats-core";
import { answerParent } from "../child.ts";

/** How to connect. */
export interface BareScatter {
  readonly servers: readonly string[];
  readonly nodeDir: string;
  readonly nodeId: string;
}

const DEADLINE_MS = 10_000;
const BODY = new TextEncoder().encode("{}");

let connection: NatsConnection;
let prefix = "";
let round = 0;
/** Told of every answer that comes in. */
let onAnswer: (bytes: number) => void = () => undefined;

answerParent({
  start: async ({ servers, nodeDir, nodeId }: BareScatter) => {
    const credential = readCredential(nodeDir, "gateway", `gateway-${nodeId}`);
    const node = { id: nodeId, name: "bench-1" };
    ({ connection } = await connectBus({ servers, credential, origin: "core", node, version: "0.1.0", log: silentLogger() }));
    prefix = `${inboxPrefix(credential.user)}.bare`;
    connection.subscribe(`${prefix}.>`, { callback: (error, message) => void (error ?? onAnswer(message.data.length)) });
    await connection.flush();
  },
  /** One scatter to the nodes; milliseconds until the last answer. */
  scatter: (nodes: string[]): Promise<{ ms: number; answers: number; bytes: number }> =>
    new Promise((resolve) => {
      const from = performance.now();
      let answers = 0;
      let bytes = 0;
      const end = () => {
        clearTimeout(timer);
        resolve({ ms: performance.now() - from, answers, bytes });
      };
      const timer = setTimeout(end, DEADLINE_MS);
      onAnswer = (length) => {
        bytes += length;
        if (++answers === nodes.length) end();
      };
      const id = round++;
      for (const [i, node] of nodes.entries()) {
        connection.publish(rpcSubject(node, "node-agent", "get-metrics"), BODY, { reply: `${prefix}.${id}.${i}` });
      }
    }),
});
