// SPDX-License-Identifier: Apache-2.0
/** The bare broadcaster: `ws` without compression, sending the same text to every client. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { WebSocketServer } from "ws";
import { answerParent } from "../child.ts";

const http = createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate: false });

answerParent({
  start: async (): Promise<string> => {
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(http.address() as AddressInfo).port}/`;
  },
  /** Sends `text` so many times to everyone. One message a turn, as they would come from a bus. */
  broadcast: async ({ text, count }: { text: string; count: number }) => {
    const bytes = Buffer.from(text);
    for (let i = 0; i < count; i++) {
      for (const client of server.clients) client.send(bytes, { binary: false });
      await nextTurn();
    }
  },
});
