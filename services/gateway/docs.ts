// SPDX-License-Identifier: Apache-2.0
/**
 * /docs: Swagger UI over the OpenAPI document. It is a server of its own that is made on the first request and answers through
 * the gateway's: the plugins and their files would otherwise sit in the memory of every idle gateway.
 */
import type { FastifyInstance } from "fastify";

/** Adds the routes. */
export function addDocs(app: FastifyInstance, document: () => object): void {
  let made: Promise<FastifyInstance> | undefined;
  const handler = async (
    request: import("fastify").FastifyRequest,
    reply: import("fastify").FastifyReply,
  ): Promise<void> => {
    made ??= createDocs(document());
    const docs = await made;
    reply.hijack();
    docs.routing(request.raw, reply.raw);
  };
  for (const url of ["/docs", "/docs/*"])
    app.route({ method: "GET", url, config: { policy: { public: true } }, handler });
  app.addHook("onClose", async () => {
    await (await made)?.close();
  });
}

async function createDocs(document: object): Promise<FastifyInstance> {
  const [{ default: Fastify }, { default: swagger }, { default: swaggerUi }] = await Promise.all([
    import("fastify"),
    import("@fastify/swagger"),
    import("@fastify/swagger-ui"),
  ]);
  const docs = Fastify({ logger: false });
  await docs.register(swagger, { mode: "static", specification: { document: document as never } });
  await docs.register(swaggerUi, {
    routePrefix: "/docs",
    staticCSP: true,
    uiConfig: { docExpansion: "list", tryItOutEnabled: false },
  });
  await docs.ready();
  return docs;
}
