// SPDX-License-Identifier: Apache-2.0
/** The bare gateway: a Fastify handler that forwards one NATS request. No authentication, validation, tracing or metrics. */
import { rpcSubject } from "@debvisor/proto-events/subjects";
import { connectBus } from "@debvisor/shared/bus/connect";
import { silentLogger } from "@debvisor/shared/log";
import { readCredential } from "@debvisor/shared/node-files";
import Fastify from "fastify";
import { answerParent } from "../child.ts";

/** Where to forward: `path` becomes one request to each call. */
export interface BareGateway {
  readonly servers: readonly string[];
  readonly nodeDir: string;
  readonly nodeId: string;
  readonly routes: readonly {
    readonly path: string;
    readonly target: string;
    readonly service: string;
    readonly operation: string;
    readonly input: unknown;
  }[];
}

answerParent({
  start: async ({ servers, nodeDir, nodeId, routes }: BareGateway): Promise<string> => {
    const { connection } = await connectBus({
      servers,
      credential: readCredential(nodeDir, "gateway", `gateway-${nodeId}`),
      origin: "core",
      node: { id: nodeId, name: "bench-1" },
      version: "0.1.0",
      log: silentLogger(),
    });
    const app = Fastify();
    for (const { path, target, service, operation, input } of routes) {
      const subject = rpcSubject(target, service, operation);
      const body = JSON.stringify(input);
      app.get(path, async (_request, reply) => {
        const answer = await connection.request(subject, body, { timeout: 5_000 });
        return reply.type("application/json").send(Buffer.from(answer.data.buffer, answer.data.byteOffset, answer.data.length));
      });
    }
    return app.listen({ host: "127.0.0.1", port: 0 });
  },
});
