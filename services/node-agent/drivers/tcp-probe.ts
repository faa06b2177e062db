// SPDX-License-Identifier: Apache-2.0
/** Tries to open a TCP connection and closes it again without sending anything; may wait for what a server says first. */
import { connect } from "node:net";

/** How the attempt ended; `reason` is undefined when the connection was accepted, and greeted where that was asked for. */
export interface TcpProbe {
  readonly ms: number;
  readonly reason: string | undefined;
}

/** What a probe may be told. */
export interface TcpProbeOptions {
  readonly signal?: AbortSignal | undefined;
  /** What the first words of the server must match; without it the connection alone counts. */
  readonly greeting?: RegExp;
}

/** Longest greeting that is read, in characters. */
const GREETING_LIMIT = 1_000;

/** Connects within `timeoutMs`. Never throws; an abort ends the attempt as a failure. */
export function probeTcp(
  host: string,
  port: number,
  timeoutMs: number,
  { signal, greeting }: TcpProbeOptions = {},
): Promise<TcpProbe> {
  const startedAt = performance.now();
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const limit = AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal === undefined ? [] : [signal])]);
    let said = "";
    const finish = (reason: string | undefined) => {
      limit.removeEventListener("abort", onLimit);
      socket.destroy();
      resolve({ ms: performance.now() - startedAt, reason });
    };
    const onLimit = () => finish(`no answer within ${timeoutMs} ms`);
    const unknown = () => finish("what answers is something else");
    limit.addEventListener("abort", onLimit, { once: true });
    socket.once("error", (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
    if (greeting === undefined) {
      socket.once("connect", () => finish(undefined));
      return;
    }
    socket.setEncoding("latin1");
    socket.on("data", (text) => {
      said += String(text);
      if (greeting.test(said)) finish(undefined);
      else if (said.length > GREETING_LIMIT) unknown();
    });
    socket.once("end", unknown);
  });
}
