// SPDX-License-Identifier: Apache-2.0
/** The two kinds of connection that a subscriber may have. Both write ready-made frames straight to the socket. */
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { WebSocket } from "@fastify/websocket";
import type { EndReason, Sink } from "./subscriber.ts";

/** WebSocket close codes: 1001 and 1008 are RFC 6455's, 1013 is "try again later", 44xx are ours. */
const CLOSE = { slow: 4408, revoked: 4401, stopping: 1001, unavailable: 1013, flood: 1008 } as const satisfies Record<
  EndReason,
  number
>;
const SAID = {
  slow: "the subscriber is too slow",
  revoked: "the key is no longer valid",
  stopping: "the gateway stops",
  unavailable: "the event stream cannot be read",
  flood: "too many messages",
} as const satisfies Record<EndReason, string>;

/**
 * Frames go to the socket beneath the WebSocket: compression is off, so ws itself writes whole frames there, and ours fit
 * between them. `queued` therefore counts both.
 */
export function websocketSink(websocket: WebSocket, socket: Socket): Sink {
  return {
    wire: "websocket",
    get queued() {
      return socket.writableLength;
    },
    write: (chunk) => {
      if (websocket.readyState === websocket.OPEN) socket.write(chunk);
    },
    drained: (ms) => drained(socket, ms),
    // A reader that stands still gets the code when it goes on; ws gives the socket up after 30 s.
    end: (reason) => websocket.close(CLOSE[reason], SAID[reason]),
  };
}

/** A response that stays open (Server-Sent Events). */
export function sseSink(response: ServerResponse): Sink {
  return {
    wire: "sse",
    get queued() {
      return response.writableLength;
    },
    write: (chunk) => {
      if (!response.destroyed && !response.writableEnded) response.write(chunk);
    },
    drained: (ms) => drained(response, ms),
    end: (reason) => {
      // A client that is behind cannot be told anything; cut off, it comes back with its Last-Event-ID.
      if (reason === "slow") response.destroy();
      else response.end(`event: closed\ndata: ${JSON.stringify({ reason: SAID[reason] })}\n\n`);
    },
  };
}

/** Below its own mark a stream never says that it has drained; then a look in a few milliseconds has to do. */
const LOOK_MS = 5;

function drained(stream: Socket | ServerResponse, ms: number): Promise<void> {
  if (stream.destroyed || stream.writableLength === 0) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      stream.off("drain", done);
      stream.off("close", done);
      resolve();
    };
    const timer = setTimeout(done, stream.writableNeedDrain ? ms : Math.min(ms, LOOK_MS));
    stream.once("drain", done);
    stream.once("close", done);
  });
}
