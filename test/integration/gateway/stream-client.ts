// SPDX-License-Identifier: Apache-2.0
/** Clients of the event stream, as programs write them: a WebSocket that keeps everything it gets, and a reader of Server-Sent Events. */
import WebSocket, { type ClientOptions } from "ws";
import type { Rig } from "./rig.ts";

/** What comes over the stream. */
export interface Frame {
  readonly seq?: number;
  readonly control?: string;
  readonly telemetry?: string;
  readonly source?: string;
  readonly type?: string;
  readonly from?: number;
  readonly to?: number;
  readonly data?: { path?: string };
}

/** A subscriber that keeps everything it gets. */
export class Client {
  readonly frames: Frame[] = [];
  readonly socket: WebSocket;
  /** Close code, once the connection is gone. */
  closed: number | undefined;
  /** Status of the answer that refused the upgrade. */
  refused: number | undefined;

  constructor(
    at: Rig,
    query: string,
    key = at.keys.viewer.bearer,
    headers: Record<string, string> = {},
    options: ClientOptions = {},
  ) {
    this.socket = new WebSocket(`${at.url.replace("http", "ws")}/v1/events${query}`, {
      ...options,
      headers: { authorization: key, ...headers },
    });
    this.socket.on("message", (data) => this.frames.push(JSON.parse(String(data)) as Frame));
    this.socket.on("close", (code) => {
      this.closed = code;
    });
    this.socket.on("unexpected-response", (_request, response) => {
      this.refused = response.resume().statusCode;
    });
    this.socket.on("error", () => undefined);
  }

  get seqs(): number[] {
    return this.frames.flatMap(({ seq, control }) => (seq !== undefined && control === undefined ? [seq] : []));
  }

  get telemetry(): Frame[] {
    return this.frames.filter(({ telemetry }) => telemetry !== undefined);
  }

  /** Whether the gateway has taken or refused it. */
  get decided(): boolean {
    return this.refused !== undefined || this.has("caught-up");
  }

  has(control: string): boolean {
    return this.frames.some((frame) => frame.control === control);
  }
}

/** Reads Server-Sent Events until there is enough, by default until the live tail; then hangs up. */
export async function readSse(
  at: Rig,
  query: string,
  {
    headers = {},
    enough = (text) => text.includes("caught-up"),
  }: { headers?: Record<string, string>; enough?: (text: string) => boolean } = {},
): Promise<string> {
  const abort = new AbortController();
  const response = await fetch(`${at.url}/v1/events${query}`, {
    headers: { authorization: at.keys.viewer.bearer, accept: "text/event-stream", ...headers },
    signal: abort.signal,
  });
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    if (enough(text)) break;
  }
  abort.abort();
  return text;
}

/** Sequences of the events in a text of Server-Sent Events. */
export function sseSeqs(text: string): number[] {
  return [...text.matchAll(/id: (\d+)\nevent: message/g)].map(([, id]) => Number(id));
}
