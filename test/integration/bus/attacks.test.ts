// SPDX-License-Identifier: Apache-2.0
/**
 * What a hostile node can make others do (RULES.md 9 to 13, attack table of lab/security): it aims the replies of the
 * server at somebody else, forges origins, and answers what it was not asked. None of it may have an effect.
 */
import { discoveryContract } from "@debvisor/proto-events/discovery";
import { nodeAgentContract } from "@debvisor/proto-events/node-agent";
import {
  auditSubject,
  eventSubject,
  inboxPrefix,
  operationSubject,
  rpcSubject,
  sealSubject,
  telemetrySubject,
} from "@debvisor/proto-events/subjects";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { lastAudit } from "@debvisor/shared/bus/permissions";
import type { JetStreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/nats-core";
import { beforeAll, expect, test } from "vitest";
import { allDelivered, deniedPublishes, listen } from "../../support/attacker.ts";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";

const cluster = sharedBusCluster({ servers: 1 });
const evil = randomNodeId();
const victim = randomNodeId();
const STARTED = "node-agent.agent.started";
const LOST = "discovery.node.lost";
const evilStarted = eventSubject(evil, STARTED);

/** Operations that were carried out on the victim and on the core part. */
const done: string[] = [];
let attacker: NatsConnection;
let node: ConnectedBus;
let gateway: ConnectedBus;
let discovery: ConnectedBus;
let admin: JetStreamManager;

beforeAll(async () => {
  attacker = await cluster().connectBare(await cluster().issuer.forNode(evil));
  node = await cluster().connectNode(victim);
  gateway = await cluster().connectCore("gateway");
  discovery = await cluster().connectCore("discovery");
  admin = (await cluster().admin()).manager;
  const record = ({ operations }: { operations: object }) =>
    Object.fromEntries(Object.keys(operations).map((name) => [name, () => carryOut(name)])) as never;
  await node.serve(nodeAgentContract, "node", record(nodeAgentContract));
  await discovery.serve(discoveryContract, "core", record(discoveryContract));
});

function carryOut(name: string): string {
  done.push(name);
  return name;
}

/** Every event that the stream holds after `seq`. */
async function eventsAfter(seq: number): Promise<{ origin: string; json: string }[]> {
  const { lastSeq } = await gateway.eventRange();
  if (lastSeq <= seq) return [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const events: { origin: string; json: string }[] = [];
  const onEvent = (event: { seq: number; origin: string; json: string }) => {
    events.push({ origin: event.origin, json: event.json });
    if (event.seq >= lastSeq) resolve();
  };
  const reader = await gateway.readEvents({ fromSeq: seq + 1, onEvent });
  await promise;
  await reader.stop();
  return events;
}

/** Subjects of everything that is stored, without what the attacker may store. */
async function contents(): Promise<string[]> {
  const names = ["DV_EVENTS", "DV_OPS", "DV_AUDIT", "DV_SEALS", "KV_dv_nodes"];
  const infos = await Promise.all(names.map((name) => admin.streams.info(name, { subjects_filter: ">" })));
  const counts = infos.flatMap(({ state }) => Object.entries(state.subjects ?? {}));
  return counts.filter(([subject]) => !subject.includes(evil)).map(([subject, count]) => `${subject} ${count}`);
}

const settled = () =>
  allDelivered(attacker, () => gateway.eventRange(), [node.connection, gateway.connection, discovery.connection]);

const TARGETS: readonly [string, () => string][] = [
  ["an operation of another node", () => rpcSubject(victim, "node-agent", "get-facts")],
  ["an operation of a core part", () => rpcSubject("core", "discovery", "disable-node")],
  ["an event of another node", () => eventSubject(victim, STARTED)],
  ["an event of a core part", () => eventSubject("core", LOST)],
  ["telemetry of another node", () => telemetrySubject(victim, "node-agent", "heartbeat")],
  ["an audit record of another node", () => auditSubject(victim)],
  ["the log of an operation", () => operationSubject("op-x")],
  ["a checkpoint of the audit trail", () => sealSubject(victim)],
  ["a bucket", () => `$KV.dv_nodes.${victim}`],
  ["the administration of streams", () => "$JS.API.STREAM.DELETE.DV_EVENTS"],
  ["the inbox of a core part", () => `${inboxPrefix(gateway.user)}.x.y`],
  ["a scatter of the gateway", () => `${inboxPrefix(gateway.user)}.scatter.0.0`],
  ["the service protocol", () => "$SRV.STATS"],
  ["somebody's pending reply", () => "_R_.a.b"],
  ["everybody's inbox", () => "_INBOX_*.>"],
];

test.for(TARGETS)("a reply subject that points at %s has no effect there", async ([, target]) => {
  const before = (await gateway.eventRange()).lastSeq;
  const telemetry: string[] = [];
  const watch = gateway.onTelemetry("node-agent", "heartbeat", ({ origin }) => telemetry.push(origin));
  const inbox = listen(gateway.connection, `${inboxPrefix(gateway.user)}.x.*`);
  const requests = listen(discovery.connection, rpcSubject("core", "discovery", "disable-node"));
  const executed = done.length;

  const stored = await contents();
  const own = [telemetrySubject(evil, "node-agent", "metrics"), auditSubject(evil), lastAudit(auditSubject(evil))];
  for (const subject of [evilStarted, ...own]) {
    attacker.publish(subject, JSON.stringify({ node: victim, reason: "forged" }), { reply: target() });
  }
  await settled();

  expect(done.slice(executed)).toEqual([]);
  expect({ inbox, requests, telemetry }).toEqual({ inbox: [], requests: [], telemetry: [] });
  expect((await eventsAfter(before)).map(({ origin }) => origin)).toEqual(
    (await gateway.eventRange()).lastSeq > before ? [evil] : [],
  );
  expect(await contents()).toEqual(stored);
  await watch.stop();
});

test("an acknowledgement that a node aims at a neighbour's operation is dropped unread", async () => {
  const subject = rpcSubject(victim, "node-agent", "get-facts");
  // On a connection of its own: the server lets one that hears a request twice not answer it at all.
  const second = await cluster().connectNode(victim);
  const heard = listen(second.connection, subject);
  await second.connection.flush();
  const executed = done.length;

  attacker.publish(evilStarted, "{}", { reply: subject });
  await settled();

  // The server delivers it (F1): every node lives in one account. It carries no reply subject, which makes it no request.
  await expect.poll(() => heard).toHaveLength(1);
  const [instance] = (await gateway.instances(200)).filter(({ metadata }) => metadata["node"] === victim);
  expect(instance).toMatchObject({ requests: 0, errors: 0 });
  expect(done.slice(executed)).toEqual([]);
});

test("a node cannot publish telemetry or events under another's name", async () => {
  const forged = [victim, "core"].flatMap((origin) => [
    telemetrySubject(origin, "node-agent", "heartbeat"),
    eventSubject(origin, STARTED),
    eventSubject(origin, LOST),
  ]);
  const before = (await gateway.eventRange()).lastSeq;
  const telemetry: string[] = [];
  const watch = gateway.onTelemetry("node-agent", "heartbeat", ({ origin }) => telemetry.push(origin));

  const denied = await deniedPublishes(attacker, forged);
  await settled();

  expect(denied).toEqual(forged);
  expect(telemetry).toEqual([]);
  expect(await eventsAfter(before)).toEqual([]);
  await watch.stop();
});

test("a node answers for itself only, and once", async () => {
  const subject = rpcSubject(evil, "node-agent", "get-facts");
  const facts = (from: string) => JSON.stringify({ ok: true, data: { from } });
  const replies: string[] = [];
  attacker.subscribe(subject, {
    callback: (_error, message) => {
      replies.push(message.reply ?? "");
      for (const from of ["first", "second", "third"]) message.respond(facts(from));
    },
  });
  await attacker.flush();
  const heard = listen(gateway.connection, `${inboxPrefix(gateway.user)}.>`);

  const scatter = gateway.scatter([evil, victim], "node-agent", "get-facts", {}, { timeoutMs: 2_000 });
  const answers = await Array.fromAsync(scatter.answers);
  const denied = await deniedPublishes(attacker, replies);
  await settled();

  expect(answers).toContainEqual(expect.objectContaining({ node: evil, status: "ok", raw: '{"from":"first"}' }));
  expect(answers).toContainEqual(expect.objectContaining({ node: victim, status: "ok", raw: '"getFacts"' }));
  expect(heard.filter((line) => line.includes("from"))).toHaveLength(1);
  expect(denied).toEqual(replies);
});

test("one node's broken description of itself does not hide the other services", async () => {
  attacker.subscribe("$SRV.STATS", { callback: (_error, message) => void message.respond("no json") });
  await attacker.flush();

  const instances = await gateway.instances(300);

  expect(instances.map(({ service }) => service).sort()).toEqual(["discovery", "node-agent"]);
});
