// SPDX-License-Identifier: Apache-2.0
/** The two sides of a fan-out measure, each in its own process: a bare scatter, and the same nodes through REST. */
import { join } from "node:path";
import type { BareConnection } from "../bare/connection.ts";
import { startChild } from "../child.ts";
import type { BenchBus } from "../environment/bus.ts";
import { startServices } from "../environment/service.ts";
import type { FanOutFigures, FanOutLoad } from "../load/fan-out.ts";
import { alternate, median } from "../measure.ts";

/** Both sides, ready to be asked. */
export interface ScatterSides extends AsyncDisposable {
  readonly gatewayPid: number;
  /** Asks all of the ids on both sides, some rounds in turn. @throws Error when an answer is missing or the census is not exact */
  compare(ids: readonly string[], rounds: number): Promise<ScatterFigures>;
}

/** Medians in milliseconds. */
export interface ScatterFigures {
  readonly bareMs: number;
  readonly oursMs: number;
  /** Median over the rounds of ours / bare of the same round. */
  readonly ratio: number;
  readonly worstMs: number;
  readonly bytes: number;
}

const WARM_UPS = 3;

/** Starts the services, and the processes of both sides. */
export async function startScatterSides(bus: BenchBus): Promise<ScatterSides> {
  await using started = new AsyncDisposableStack();
  const services = started.use(await startServices(bus));
  const bare = started.use(startChild("bare/scatter.ts", join(bus.logDir, "bare-scatter.log")));
  const client = started.use(startChild("load/fan-out.ts", join(bus.logDir, "fan-out.log")));
  await bare.call("start", { servers: bus.servers, nodeDir: bus.nodeDir, nodeId: bus.nodeId } satisfies BareConnection);
  const scatter = async (ids: readonly string[]) => {
    const { ms, answers, bytes } = await bare.call<{ ms: number; answers: number; bytes: number }>("scatter", ids);
    if (answers !== ids.length) throw new Error(`the bare scatter got ${answers} of ${ids.length} answers`);
    return { ms, bytes };
  };
  const ask = async (ids: readonly string[]) => {
    const load: FanOutLoad = { url: `${bus.gatewayUrl}/v1/metrics?nodes=all`, token: bus.token };
    const { ms, bytes, census, counted } = await client.call<FanOutFigures>("ask", load);
    if (census["total"] !== ids.length || census["ok"] !== ids.length || counted["ok"] !== ids.length) {
      throw new Error(
        `the census of ${ids.length} good agents is ${JSON.stringify(census)}, counted ${JSON.stringify(counted)}`,
      );
    }
    return { ms, bytes };
  };
  const owned = started.move();
  return {
    gatewayPid: services.gatewayPid,
    compare: async (ids, rounds) => {
      for (let i = 0; i < WARM_UPS; i++) {
        await scatter(ids);
        await ask(ids);
      }
      const results = await alternate(
        rounds,
        () => scatter(ids),
        () => ask(ids),
      );
      return {
        bareMs: median(results.bare.map(({ ms }) => ms)),
        oursMs: median(results.ours.map(({ ms }) => ms)),
        ratio: median(results.ours.map(({ ms }, i) => ms / (results.bare[i]?.ms ?? ms))),
        worstMs: Math.max(...results.ours.map(({ ms }) => ms)),
        bytes: results.ours[0]?.bytes ?? 0,
      };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
