// SPDX-License-Identifier: Apache-2.0
/** Tries to open a TCP connection and closes it again without sending anything. */
import { connect } from "node:net";

/** How the attempt ended; `reason` is undefined when the connection was accepted. */
export interface TcpProbe {
  readonly ms: number;
  readonly reason: string | undefined;
}

/** Connects within `timeoutMs`. Never throws; an abort ends the attempt as a failure. */
export function probeTcp(host: string, port: number, timeoutMs: number, signal?: AbortSignal): Promise<TcpProbe> {
  const startedAt = performance.now();
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const limit = AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal === undefined ? [] : [signal])]);
    const finish = (reason: string | undefined) => {
      limit.removeEventListener("abort", onLimit);
      socket.destroy();
      resolve({ ms: performance.now() - startedAt, reason });
    };
    const onLimit = () => finish(`no answer within ${timeoutMs} ms`);
    limit.addEventListener("abort", onLimit, { once: true });
    socket.once("connect", () => finish(undefined));
    socket.once("error", (error: NodeJS.ErrnoException) => finish(error.code ?? error.message));
  });
}
