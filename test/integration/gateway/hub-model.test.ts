// SPDX-License-Identifier: Apache-2.0
/**
 * The event hub, its ring and the catch-up against a model: after any interleaving of publishing, subscribing, slow reading and
 * restarts of the reader, a subscriber that was not cut has exactly the events after its start that match, once and in order,
 * and one that was cut has a beginning of them. Bus and hub are real; only the subscribers' sockets are not.
 */
import { gatewayContract } from "@debvisor/proto-events/gateway";
import { nodeAgentContract } from "@debvisor/proto-events/node-agent";
import { CONTRACTS } from "@debvisor/proto-events/registry";
import { CORE, eventSubject } from "@debvisor/proto-events/subjects";
import type { StoredEvent } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import type { Principal } from "../../../services/gateway/auth/principal.ts";
import { gatewayConfig } from "../../../services/gateway/config.ts";
import { EventHub } from "../../../services/gateway/events/hub.ts";
import { EventStreams } from "../../../services/gateway/events/streams.ts";
import { EventQuery, type Subscription, toSubscription } from "../../../services/gateway/model/event-query.ts";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";
import { FakeReader } from "./fake-reader.ts";
import { until } from "./rig.ts";

const RUNS = Number(process.env["DV_MODEL_RUNS"] ?? 12);
const RING = 16;
const cluster = sharedBusCluster({ servers: 1 });
const node = randomNodeId();
let core: ConnectedBus;
let agent: ConnectedBus;
let publisher: ConnectedBus;

beforeAll(async () => {
  [core, publisher, agent] = await Promise.all([
    cluster().connectCore("gateway"),
    cluster().connectCore("gateway"),
    cluster().connectNode(node),
  ]);
});

const KINDS = ["denied", "limited", "stopped", "junk"] as const;
type Kind = (typeof KINDS)[number];

/** Publishes one message; `junk` is stored under an event's subject and is none. */
async function publish(kind: Kind, size: number): Promise<void> {
  const text = "x".repeat(size);
  const event = { denied: "call.denied", limited: "caller.limited" } as const;
  if (kind === "stopped") {
    const payload = { node, name: "node-1", bootId: text };
    await agent.publishEvent(nodeAgentContract, "agent.stopped", payload, { subject: node });
  } else if (kind === "junk") {
    await publisher.connection.request(eventSubject(CORE, "gateway.call.denied"), `{"junk":"${text}"}`);
  } else {
    const payload = { principal: text, source: "s", operation: "o", permission: "p", rateClass: "read", limit: 1 };
    await publisher.publishEvent(gatewayContract, event[kind], payload as never, { subject: "test" });
  }
}

/** A gateway's event part, without its routes. */
class Stage {
  readonly hub = new EventHub(core, cluster().log, { entries: RING, bytes: 65_536 });
  readonly streams = new EventStreams({
    bus: core,
    hub: this.hub,
    log: cluster().log,
    config: gatewayConfig.parse({ events: { perPrincipal: 0, queueBytes: 4_096 } }).events,
    contracts: CONTRACTS,
    nodesJson: () => "[]",
    current: () => undefined,
  });

  open(sink: FakeReader, query: object): { readonly subscription: Subscription; readonly close: () => void } {
    const principal: Principal = { id: "p", role: "viewer", scopes: [], permissions: new Set(), expiresAtMs: 1 / 0 };
    const subscription = toSubscription(EventQuery.parse(query), undefined, Date.now(), (ref) => ref);
    return { subscription, close: this.streams.open(principal, subscription, sink).close };
  }
}

/** Everything that is stored, read by somebody else. */
async function stored(): Promise<readonly StoredEvent[]> {
  const { firstSeq, lastSeq } = await publisher.eventRange();
  const all: StoredEvent[] = [];
  if (firstSeq > lastSeq) return all;
  const reader = await publisher.readEvents({ fromSeq: 1, onEvent: (event) => void all.push(event) });
  await until(() => all.at(-1)?.seq === lastSeq, "the whole stream");
  await reader.stop();
  return all;
}

const filter = fc.constantFrom(undefined, "gateway.>", "gateway.call.*,node-agent.agent.*", "*.caller.limited");
const origin = fc.constantFrom(undefined, undefined, CORE, node);
const start = fc.oneof(
  fc.constant({ kind: "now" as const }),
  fc.record({ kind: fc.constant("after" as const), back: fc.integer({ min: 0, max: 60 }) }),
  fc.record({ kind: fc.constant("tail" as const), count: fc.integer({ min: 0, max: 40 }) }),
  fc.record({ kind: fc.constant("time" as const), backMs: fc.integer({ min: 0, max: 400 }) }),
);
const command = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("publish" as const),
      kinds: fc.array(fc.constantFrom(...KINDS), { minLength: 1, maxLength: 12 }),
      size: fc.constantFrom(1, 1, 2_000),
      wait: fc.boolean(),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant("join" as const), start, filter, origin, slow: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("take" as const), which: fc.nat(20), fast: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("leave" as const), which: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.constant({ do: "restart" as const }) },
);
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;
type Join = Extract<Command, { do: "join" }>;

/** A run in which one subscriber reads nothing and is cut, so that every execution has this case. */
const ONE_IS_CUT: Command[] = [
  { do: "join", start: { kind: "now" }, filter: undefined, origin: undefined, slow: true },
  { do: "join", start: { kind: "now" }, filter: undefined, origin: undefined, slow: false },
  { do: "publish", kinds: ["denied"], size: 1, wait: true },
  ...Array.from({ length: 3 }, () => {
    return { do: "publish" as const, kinds: Array<Kind>(8).fill("limited"), size: 2_000 as const, wait: true };
  }),
];

/** A subscriber with what is known about its start: the hub had read up to somewhere in `from`…`to` when it was fixed. */
interface Joined {
  readonly sink: FakeReader;
  readonly close: () => void;
  readonly subscription: Subscription;
  readonly from: number;
  to: number;
  left: boolean;
}

function join(stage: Stage, { start: at, filter: patterns, origin: only, slow }: Join): Joined {
  const query: Record<string, unknown> = { ...(patterns ? { filter: patterns } : {}), ...(only ? { node: only } : {}) };
  if (at.kind === "after") query["since"] = String(Math.max(0, stage.hub.lastSeq - at.back));
  if (at.kind === "tail") query["tail"] = at.count;
  if (at.kind === "time") query["since"] = `${at.backMs}ms`;
  const sink = new FakeReader(slow);
  const joined: Joined = { ...stage.open(sink, query), sink, from: stage.hub.lastSeq, to: 1 / 0, left: false };
  sink.onFirst = () => {
    joined.to = stage.hub.lastSeq;
  };
  return joined;
}

/** What the subscriber had to get, for each place at which its start may have been fixed. */
function* allowed({ subscription, from, to }: Joined, all: readonly StoredEvent[]): Generator<readonly number[]> {
  const { start: at, matches } = subscription;
  const fits = all.filter((event) => matches(event) && !event.json.startsWith('{"junk"'));
  const after = (holds: (event: StoredEvent) => boolean) => fits.filter(holds).map(({ seq }) => seq);
  if (at.kind === "after") yield after(({ seq }) => seq > at.seq);
  if (at.kind === "time") yield after(({ timeMs }) => timeMs >= at.timeMs);
  for (let upTo = from; upTo <= Math.min(to, all.length); upTo++) {
    if (at.kind === "now") yield after(({ seq }) => seq > upTo);
    if (at.kind !== "tail") continue;
    const before = after(({ seq }) => seq <= upTo);
    yield [...before.slice(Math.max(0, before.length - at.count)), ...after(({ seq }) => seq > upTo)];
  }
}

async function publishAll({ kinds, size }: Extract<Command, { do: "publish" }>): Promise<void> {
  for (const kind of kinds) await publish(kind, size);
}

function leave(subscriber: Joined): void {
  subscriber.left = true;
  subscriber.close();
  subscriber.sink.wake();
}

async function play(stage: Stage, commands: readonly Command[]): Promise<readonly Joined[]> {
  const joined: Joined[] = [];
  const underway: Promise<void>[] = [];
  const act = async (step: Command): Promise<void> => {
    const subject = "which" in step ? joined[step.which % Math.max(1, joined.length)] : undefined;
    switch (step.do) {
      case "join":
        return void joined.push(join(stage, step));
      case "restart":
        return await core.connection.reconnect();
      case "take":
        return subject?.sink.take(step.fast);
      case "leave":
        return subject && leave(subject);
      case "publish":
        underway.push(publishAll(step));
        return step.wait ? await underway.at(-1) : undefined;
    }
  };
  for (const step of commands) await act(step);
  await Promise.all(underway);
  return joined;
}

const equal = (a: readonly number[], b: readonly number[]) =>
  a.length === b.length && a.every((seq, i) => seq === b[i]);

/** Whether a subscriber has what it had to get; one that was cut or left, a beginning of it. */
function correct(each: Joined, all: readonly StoredEvent[]): boolean {
  const { seqs, ended, gaps } = each.sink;
  if (gaps > 0 || (ended !== undefined && ended !== "slow" && ended !== "stopping")) return false;
  const whole = ended !== "slow" && !each.left;
  for (const wanted of allowed(each, all)) if (equal(seqs, whole ? wanted : wanted.slice(0, seqs.length))) return true;
  return false;
}

describe("whatever happens to the event stream", () => {
  it("a subscriber has exactly what it asked for, once and in order", async () => {
    let cut = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 8, maxLength: 30 }), async (commands) => {
        const stage = new Stage();
        await stage.hub.start();
        const joined = await play(stage, commands);
        for (const { sink } of joined) sink.take(true);
        const all = await stored();
        const done = (each: Joined) =>
          each.left || each.sink.ended !== undefined || (each.sink.caughtUp && correct(each, all));
        await until(
          () => stage.hub.lastSeq === all.length,
          "the hub to have read everything",
          () => `${stage.hub.lastSeq} of ${all.length}`,
          8_000,
        );
        await until(
          () => joined.every(done),
          "every subscriber to be right",
          () => JSON.stringify(joined.filter((each) => !done(each)).map((each) => [each, each.sink.seqs, all.length])),
          8_000,
        );
        stage.streams.stop();
        for (const each of joined) each.close();
        await stage.hub.stop();

        cut += joined.filter(({ sink }) => sink.ended === "slow").length;
        expect(joined.filter((each) => !correct(each, all))).toEqual([]);
        expect(joined.filter(({ sink }) => !isRising(sink.seqs))).toEqual([]);
      }),
      { numRuns: RUNS, endOnFailure: true, examples: [[ONE_IS_CUT]] },
    );
    expect(cut).toBeGreaterThan(0);
  });

  it("subscribers that leave while they wait to read the past give their place back", async () => {
    for (let i = 0; i < RING * 3; i++) await publish("denied", 200);
    const stage = new Stage();
    await stage.hub.start();
    await until(() => stage.hub.ready, "the hub");
    const sinks = Array.from({ length: 40 }, () => new FakeReader(true));
    const opened = sinks.map((sink) => stage.open(sink, { since: "0" }));
    const reading = () => sinks.filter((sink) => sink.seqs.length > 0).length;
    await until(() => reading() === 16, "all places to be taken");

    for (const [i, { close }] of opened.entries()) if (sinks[i]?.seqs.length === 0) close();
    for (const [i, { close }] of opened.entries()) {
      close();
      sinks[i]?.wake();
    }
    const last = new FakeReader(false);
    const { close } = stage.open(last, { since: "0" });
    await until(() => last.caughtUp, "a later subscriber to have its turn", undefined, 10_000);

    expect(last.seqs.at(-1)).toBe(stage.hub.lastSeq);
    expect(reading()).toBe(16);
    close();
    await stage.hub.stop();
  });
});

function isRising(seqs: readonly number[]): boolean {
  return seqs.every((seq, i) => i === 0 || seq > (seqs[i - 1] ?? 0));
}
