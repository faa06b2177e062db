// SPDX-License-Identifier: Apache-2.0
/** The bare scatter: one request to each node on raw NATS, and a count of what comes back. */
import { rpcSubject } from "@debvisor/proto-events/subjects";
import type { NatsConnection } from "@nats-io/nats-core";
import { answerParent } from "../child.ts";
import { type BareConnection, connectBare } from "./connection.ts";

const DEADLINE_MS = 10_000;
const BODY = new TextEncoder().encode("{}");

let connection: NatsConnection;
let prefix = "";
let round = 0;
/** Told of every answer that comes in. */
let onAnswer: (bytes: number) => void = () => undefined;

answerParent({
  start: async (options: BareConnection) => {
    const connected = await connectBare(options);
    connection = connected.connection;
    prefix = `${connected.inbox}.bare`;
    connection.subscribe(`${prefix}.>`, {
      callback: (error, message) => void (error ?? onAnswer(message.data.length)),
    });
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
