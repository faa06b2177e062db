// SPDX-License-Identifier: Apache-2.0
/** The load generator for single requests: autocannon in a process of its own. */
import autocannon from "autocannon";
import { answerParent } from "../child.ts";

/** One run of the load generator. */
export interface RequestLoad {
  readonly url: string;
  readonly connections: number;
  readonly seconds: number;
  readonly headers?: Record<string, string>;
}

/** What came of it. */
export interface RequestFigures {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  /** Answers other than 2xx, and requests without one. */
  readonly failures: number;
}

answerParent({
  run: async ({ url, connections, seconds, headers }: RequestLoad): Promise<RequestFigures> => {
    const result = await autocannon({
      url,
      connections,
      pipelining: 1,
      duration: seconds,
      ...(headers ? { headers } : {}),
    });
    return {
      perSecond: result["2xx"] / result.duration,
      p50: result.latency.p50,
      p99: result.latency.p99,
      failures: result.non2xx + result.errors,
    };
  },
});
