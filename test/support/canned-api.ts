// SPDX-License-Identifier: Apache-2.0
/**
 * A real HTTP server on loopback that answers what a test says: the other side of a client's transport. It stands for a
 * gateway only in tests of the client itself; behaviour of the gateway is tested with the gateway.
 */
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";

/** A request that arrived. */
export interface SeenRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: IncomingMessage["headers"];
  readonly body: unknown;
}

/** What the server answers; `drop` closes the connection without an answer, `hang` never answers. */
export type CannedReply =
  | { readonly status?: number; readonly body?: unknown; readonly text?: string }
  | "drop"
  | "hang";

/** A running server. */
export interface CannedApi {
  readonly url: string;
  readonly server: Server;
  readonly requests: readonly SeenRequest[];
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts a server whose answers come from `answer`. */
export async function startCannedApi(
  answer: (request: SeenRequest, number: number) => CannedReply,
): Promise<CannedApi> {
  const requests: SeenRequest[] = [];
  const server = createServer((incoming, response) => {
    let text = "";
    incoming.setEncoding("utf8");
    incoming.on("data", (chunk) => (text += chunk));
    incoming.on("end", () => {
      const url = new URL(incoming.url ?? "/", "http://canned");
      const seen = {
        method: incoming.method ?? "",
        url,
        headers: incoming.headers,
        body: text === "" ? undefined : JSON.parse(text),
      };
      requests.push(seen);
      const reply = answer(seen, requests.length);
      if (reply === "hang") return;
      if (reply === "drop") return void incoming.socket.destroy();
      response.writeHead(reply.status ?? 200, { "content-type": "application/json" });
      response.end(reply.text ?? JSON.stringify(reply.body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    server,
    requests,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A problem document as the gateway writes it. */
export function problem(code: string, kind: string, status: number, exitCode: number) {
  return {
    status,
    body: {
      type: `/v1/errors/${code}`,
      title: code,
      status,
      detail: `${code} happened`,
      code,
      kind,
      exitCode,
      requestId: "r-1",
    },
  };
}
