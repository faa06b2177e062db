// SPDX-License-Identifier: Apache-2.0
/**
 * Delivery of events to 1,000 WebSocket subscribers, against `ws` sending the same bytes. Ours come from the event stream: a
 * node publishes them, JetStream stores and acknowledges them, the gateway reads, checks and frames them.
 */
import { join } from "node:path";
import { type Child, startChild } from "../child.ts";
import { type BenchBus, startBenchBus } from "../environment/bus.ts";
import { connectionsRefused, mebibytes, residentBytes } from "../environment/limits.ts";
import { startServices } from "../environment/service.ts";
import type { SubscriberFigures, SubscriberLoad } from "../load/subscribers.ts";
import { alternate, type Measure, type MeasureContext, median, round } from "../measure.ts";
import { identityOf } from "../simulator/identity.ts";

const GOAL = 0.7;

interface Sides {
  readonly ours: { readonly subscribers: Child; readonly publisher: Child };
  readonly bare: { readonly subscribers: Child; readonly server: Child };
}

export const events: Measure = {
  name: "events",
  summary: "events to 1,000 WebSocket subscribers, against bare ws with the same bytes",
  async run(context) {
    const { quick, say, report } = context;
    const count = quick ? 50 : 1_000;
    const refused = connectionsRefused(count);
    if (refused) throw new Error(refused);
    await using bus = await startBenchBus();
    await using services = await startServices(bus);
    await using children = new AsyncDisposableStack();
    const sides = await startSides(bus, children, count);
    const messages = quick ? 50 : 150;
    const { sample } = await deliverOurs(sides, messages);
    await deliverBare(sides, sample, messages);
    const rounds = quick ? 2 : 5;
    const results = await alternate(
      rounds,
      () => deliverBare(sides, sample, messages),
      () => deliverOurs(sides, messages),
    );
    const rate = ({ ms, frames }: SubscriberFigures) => frames / (ms / 1_000);
    const ratio = median(results.ours.map((figures, i) => rate(figures) / rate(results.bare[i] ?? figures)));
    const [bareRate, oursRate] = [median(results.bare.map(rate)), median(results.ours.map(rate))];
    const wrong = results.ours.reduce((sum, figures) => sum + figures.wrong, 0);
    say(`bare ${Math.round(bareRate)}/s, ours ${Math.round(oursRate)}/s`);
    report({
      measure: "events/burst",
      bare: Math.round(bareRate),
      ours: Math.round(oursRate),
      ratio: round(ratio),
      goal: `>= ${GOAL}`,
      met: ratio >= GOAL && wrong === 0,
      unit: "messages/s",
      n: rounds,
      subscribers: count,
      eventsPerRound: messages,
      bytesPerEvent: Buffer.byteLength(sample),
      lostOrDoubled: wrong,
      publishedPerSecond: Math.round(median(results.ours.map(({ publishMs }) => messages / (publishMs / 1_000)))),
      gatewayMiB: mebibytes(residentBytes(services.gatewayPid)),
    });
    await oneAtATime(context, sides, sample, count);
  },
};

/** One event alone: no batch helps, only what a single delivery costs. From the first subscriber that has it to the last. */
async function oneAtATime(
  { quick, report }: MeasureContext,
  sides: Sides,
  sample: string,
  count: number,
): Promise<void> {
  const rounds = quick ? 5 : 25;
  const results = await alternate(
    rounds,
    () => deliverBare(sides, sample, 1),
    () => deliverOurs(sides, 1),
  );
  const [bareMs, oursMs] = [median(results.bare.map(({ ms }) => ms)), median(results.ours.map(({ ms }) => ms))];
  const wrong = results.ours.reduce((sum, figures) => sum + figures.wrong, 0);
  report({
    measure: "events/one-at-a-time",
    bare: Math.round(count / (bareMs / 1_000)),
    ours: Math.round(count / (oursMs / 1_000)),
    ratio: round(bareMs / oursMs),
    goal: `>= ${GOAL}`,
    met: bareMs / oursMs >= GOAL && wrong === 0,
    unit: "messages/s",
    n: rounds,
    subscribers: count,
    spreadMs: { bare: round(bareMs), ours: round(oursMs) },
    lostOrDoubled: wrong,
  });
}

async function startSides(bus: BenchBus, children: AsyncDisposableStack, count: number): Promise<Sides> {
  const start = (script: string, log: string) => children.use(startChild(script, join(bus.logDir, `${log}.log`)));
  const publisher = start("load/publisher.ts", "publisher");
  const node = identityOf(0);
  await publisher.call("start", { servers: bus.servers, credential: await bus.issuer.forNode(node.id), node });
  const ours = { publisher, subscribers: start("load/subscribers.ts", "subscribers") };
  const bare = {
    server: start("bare/websocket.ts", "bare"),
    subscribers: start("load/subscribers.ts", "bare-subscribers"),
  };
  const bareUrl = await bare.server.call<string>("start");
  await bare.subscribers.call("connect", { url: bareUrl, count } satisfies SubscriberLoad);
  await ours.subscribers.call("connect", {
    url: `${bus.gatewayUrl}/v1/events?filter=node-agent.%3E`,
    token: bus.token,
    waitFor: '"caught-up"',
    count,
  } satisfies SubscriberLoad);
  return { ours, bare };
}

async function deliverOurs({ ours }: Sides, messages: number): Promise<SubscriberFigures & { publishMs: number }> {
  await ours.subscribers.call("arm", messages);
  const publishMs = await ours.publisher.call<number>("publish", messages);
  return { ...(await ours.subscribers.call<SubscriberFigures>("figures")), publishMs };
}

async function deliverBare(
  { bare }: Sides,
  text: string,
  count: number,
): Promise<SubscriberFigures & { publishMs: number }> {
  await bare.subscribers.call("arm", count);
  await bare.server.call("broadcast", { text, count });
  return { ...(await bare.subscribers.call<SubscriberFigures>("figures")), publishMs: 0 };
}
