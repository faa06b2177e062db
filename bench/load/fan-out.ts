// SPDX-License-Identifier: Apache-2.0
/** A REST client that asks many nodes at once: time until the last byte, then whether the census is exact. */
import { Agent, request } from "node:http";
import { answerParent } from "../child.ts";

/** A request for a fan-out. */
export interface FanOutLoad {
  readonly url: string;
  readonly token: string;
}

/** What came of it. */
export interface FanOutFigures {
  readonly ms: number;
  readonly bytes: number;
  readonly census: Readonly<Record<string, number>>;
  /** Results by status, counted from the list; must equal the census. */
  readonly counted: Readonly<Record<string, number>>;
}

const agent = new Agent({ keepAlive: true });

answerParent({
  ask: async ({ url, token }: FanOutLoad): Promise<FanOutFigures> => {
    const from = performance.now();
    const body = await get(url, token);
    const ms = performance.now() - from;
    const { census, results } = JSON.parse(body.toString()) as {
      census: Record<string, number>;
      results: { status: string }[];
    };
    const counted: Record<string, number> = {};
    for (const { status } of results) counted[status] = (counted[status] ?? 0) + 1;
    return { ms, bytes: body.length, census, counted };
  },
});

function get(url: string, token: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent, headers: { authorization: `Bearer ${token}` } }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("error", reject);
      response.on("end", () => {
        const body = Buffer.concat(parts);
        if (response.statusCode === 200) resolve(body);
        else reject(new Error(`HTTP ${response.statusCode}: ${body.toString().slice(0, 300)}`));
      });
    });
    sent.on("error", reject);
    sent.end();
  });
}
