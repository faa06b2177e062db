// SPDX-License-Identifier: Apache-2.0
/** The bare gateway: a Fastify handler that forwards one NATS request. No authentication, validation, tracing or metrics. */
import { rpcSubject } from "@debvisor/proto-events/subjects";
import Fastify from "fastify";
import { answerParent } from "../child.ts";
import { type BareConnection, connectBare } from "./connection.ts";

/** Where to forward: `path` becomes one request to each call. */
export interface BareGateway extends BareConnection {
  readonly routes: readonly {
    readonly path: string;
    readonly target: string;
    readonly service: string;
    readonly operation: string;
    readonly input: unknown;
  }[];
}

answerParent({
  start: async ({ routes, ...options }: BareGateway): Promise<string> => {
    const { connection } = await connectBare(options);
    const app = Fastify();
    for (const { path, target, service, operation, input } of routes) {
      const subject = rpcSubject(target, service, operation);
      const body = JSON.stringify(input);
      app.get(path, async (_request, reply) => {
        const answer = await connection.request(subject, body, { timeout: 5_000 });
        return reply
          .type("application/json")
          .send(Buffer.from(answer.data.buffer, answer.data.byteOffset, answer.data.length));
      });
    }
    return app.listen({ host: "127.0.0.1", port: 0 });
  },
});
