// SPDX-License-Identifier: Apache-2.0
/** Attacks on what is stored: header tricks, ids that suppress others' events, consumers that push, wiping a bucket. */

import { readFileSync } from "node:fs";
import path from "node:path";
import { gatewayContract } from "@debvisor/proto-events/gateway";
import { nodeAgentContract } from "@debvisor/proto-events/node-agent";
import { eventSubject, rpcSubject } from "@debvisor/proto-events/subjects";
import { createEnvelope, publishEnvelope } from "@debvisor/shared/bus/events";
import { createLogger } from "@debvisor/shared/log";
import { headers as createHeaders, type NatsConnection } from "@nats-io/nats-core";
import { beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { deniedPublishes, listen } from "../../support/attacker.ts";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";

const cluster = sharedBusCluster({ servers: 1 });
const evil = randomNodeId();
const victim = randomNodeId();
const subject = eventSubject(evil, "node-agent.agent.started");
const Value = z.object({ at: z.number() });
let attacker: NatsConnection;

beforeAll(async () => {
  attacker = await cluster().connectBare(await cluster().issuer.forNode(evil));
});

const started = (node: string) => ({ node, name: "node", version: "1", bootId: "b", pid: 1 });

function withHeaders(entries: Readonly<Record<string, string>>) {
  const headers = createHeaders();
  for (const [name, value] of Object.entries(entries)) headers.append(name, value);
  return headers;
}

const TRICKS: readonly Readonly<Record<string, string>>[] = [
  { "Nats-Rollup": "all" },
  { "Nats-Rollup": "sub" },
  { "Nats-TTL": "1s" },
  { "Nats-TTL": "never" },
  { "Nats-Expected-Stream": "KV_dv_nodes" },
  { "Nats-Expected-Last-Sequence": "999999" },
  { "Nats-Expected-Last-Msg-Id": "x" },
  { "Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "$KV.dv_nodes.x" },
  { "Nats-Incr": "+5" },
  { "Nats-Batch-Id": "b1", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1" },
  { "Nats-Marker-Reason": "Purge" },
  { "KV-Operation": "PURGE" },
];

test.for(TRICKS)("the header %j on an event removes and forges nothing", async (trick) => {
  const node = await cluster().connectNode(victim);
  const gateway = await cluster().connectCore("gateway");
  const kept = await node.publishEvent(nodeAgentContract, "agent.started", started(victim), { subject: victim });
  const before = await cluster()
    .admin()
    .then(({ manager }) => manager.streams.info("DV_EVENTS"));

  await attacker.request(subject, "{}", { timeout: 2_000, headers: withHeaders(trick) });

  const { manager } = await cluster().admin();
  const after = await manager.streams.info("DV_EVENTS", { subjects_filter: ">" });
  expect(after.state.first_seq).toBe(before.state.first_seq);
  expect(after.state.messages - before.state.messages).toBe(after.state.last_seq - before.state.last_seq);
  expect(after.state.last_seq - before.state.last_seq).toBeLessThanOrEqual(1);
  expect(
    Object.keys(after.state.subjects ?? {}).filter((name) => ![evil, victim].some((id) => name.includes(id))),
  ).toEqual([]);
  expect((await gateway.eventRange()).lastSeq).toBeGreaterThanOrEqual(kept.seq);
});

test("an id that was published before suppresses an event, so ids are random and a taken one is reported", async () => {
  const file = path.join(cluster().dir, "poison.log");
  const log = createLogger({ level: "info", destination: file });
  const node = await cluster().connectNode(victim);
  const envelopes = Array.from({ length: 2_000 }, () =>
    createEnvelope(nodeAgentContract, "agent.started", started(victim), victim, { subject: victim }),
  );
  const [envelope] = envelopes;
  if (!envelope) throw new Error("no envelope was made");
  await attacker.request(subject, "{}", { timeout: 2_000, headers: withHeaders({ "Nats-Msg-Id": envelope.id }) });

  await publishEnvelope(node.connection, envelope, { subject: envelope.subject }, log);

  expect(new Set(envelopes.map(({ id }) => id)).size).toBe(envelopes.length);
  expect(envelopes.every(({ id }) => /^[0-9a-f]{32}$/.test(id))).toBe(true);
  expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject({ level: "error", id: envelope.id });
});

test("no writer of a bucket can wipe it, and a node cannot write to it", async () => {
  const gateway = await cluster().connectCore("gateway");
  const tokens = await gateway.bucket("dv_tokens", Value);
  await Promise.all([tokens.create("a", { at: 1 }), tokens.create("b", { at: 2 })]);

  for (const scope of ["all", "sub"]) {
    const reply = await gateway.connection.request("$KV.dv_tokens.a", "{}", {
      timeout: 2_000,
      headers: withHeaders({ "Nats-Rollup": scope }),
    });
    expect(reply.json()).toHaveProperty("error");
  }

  expect(await tokens.get("b")).toMatchObject({ value: { at: 2 } });
  expect(await deniedPublishes(attacker, ["$KV.dv_tokens.a"])).toEqual(["$KV.dv_tokens.a"]);
});

test("a node cannot have a consumer push a message at another", async () => {
  const node = await cluster().connectNode(victim);
  const target = rpcSubject(victim, "node-agent", "get-facts");
  const heard = listen(node.connection, target);
  const creations = [
    "$JS.API.CONSUMER.CREATE.DV_EVENTS.push",
    "$JS.API.CONSUMER.CREATE.DV_EVENTS",
    "$JS.API.CONSUMER.DURABLE.CREATE.DV_EVENTS.push",
  ];
  const config = {
    durable_name: "push",
    name: "push",
    deliver_subject: target,
    ack_policy: "none",
    deliver_policy: "all",
  };

  for (const creation of creations)
    attacker.publish(creation, JSON.stringify({ stream_name: "DV_EVENTS", config, action: "create" }));
  const denied = await deniedPublishes(attacker, creations);
  await node.connection.flush();

  expect(denied).toEqual(creations);
  expect(heard).toEqual([]);
});

test("not even the stream administrator deletes, purges or empties the event stream by one message", async () => {
  const { manager } = await cluster().admin();
  const { config } = await manager.streams.info("DV_EVENTS");

  await expect(manager.streams.update("DV_EVENTS", { ...config, deny_delete: false })).rejects.toThrow();
  await expect(manager.streams.update("DV_EVENTS", { ...config, deny_purge: false })).rejects.toThrow();
  expect(config).toMatchObject({ deny_delete: true, deny_purge: true, allow_rollup_hdrs: false });
});

test("a core part cannot publish the events of another", async () => {
  const gateway = await cluster().connectCore("gateway");
  const discovery = await cluster().connectCore("discovery");
  const created = eventSubject(
    "core",
    `gateway.${Object.keys(gatewayContract.events).find((name) => name === "token.created")}`,
  );

  expect(await deniedPublishes(discovery.connection, [created])).toEqual([created]);
  expect(await deniedPublishes(gateway.connection, [created])).toEqual([]);
});
