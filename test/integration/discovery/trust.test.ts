// SPDX-License-Identifier: Apache-2.0
/**
 * The authority of a running cluster is replaced (ADR-0024): three servers and a worker, while somebody writes. Nothing that was
 * acknowledged is lost, what the old authority has signed opens no door afterwards, and a rotation that is cancelled leaves all as it was.
 */
import { X509Certificate } from "node:crypto";
import { cpSync, readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type ConnectedBus, connectBus } from "@debvisor/shared/bus/connect";
import { createLogger } from "@debvisor/shared/log";
import { busTls, nodePaths, readCredential, readMembership, readNode } from "@debvisor/shared/node-files";
import { certificatesIn } from "@debvisor/shared/pki/certificate";
import { VERSION } from "@debvisor/shared/version";
import { afterAll, beforeAll, expect, test } from "vitest";
import { collectIds, EventPublisher } from "../../support/event-traffic.ts";
import { type LocalCluster, startLocalCluster } from "../../support/local-cluster.ts";
import { believes, opensRoute } from "../../support/old-leaf.ts";
import { waitFor } from "../../support/wait-for.ts";

const LIMIT = { timeout: 90_000 };
const log = createLogger({ level: "silent" });
let lab: LocalCluster;
let dirs: string[];

beforeAll(async () => {
  lab = await startLocalCluster({ flags: ["--nodes", "4"] });
  await lab.untilReplicated();
  await lab.untilState({ "node-4": "alive" }, 20_000);
  dirs = [...(await lab.nodes())]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ id }) => path.join(lab.dataDir, "nodes", id));
}, 90_000);
afterAll(() => lab?.[Symbol.asyncDispose]());

const dirOf = (node: number) => dirs[node - 1] ?? "";
const read = (file: string) => readFileSync(file, "utf8");
const authoritiesOf = (dir: string) =>
  certificatesIn(read(nodePaths(dir).tls.ca)).map(({ fingerprint }) => fingerprint);
const isOf = (dir: string) => {
  const { ca, certificate } = nodePaths(dir).tls;
  return new X509Certificate(read(certificate)).verify(new X509Certificate(read(ca)).publicKey);
};

/** What matters of `trust show`. */
interface Trust {
  readonly generation: number;
  readonly authorities: readonly { readonly fingerprint: string; readonly issues: boolean }[];
  readonly members: readonly { readonly name: string; readonly current: boolean }[];
}

async function show(): Promise<Trust> {
  return (await (await lab.fetch("/v1/trust")).json()) as Trust;
}

/** Connects to the bus as a part of a node, by the node's own files. */
function connect(dir: string, purpose: string): Promise<ConnectedBus> {
  const node = readNode(dir);
  const tls = busTls(dir);
  const user = purpose === "node" ? node.id : `${purpose}-${node.id}`;
  return connectBus({
    ...(tls ? { tls } : {}),
    servers: readMembership(dir)?.busServers ?? [],
    credential: readCredential(dir, purpose, user),
    ...{ origin: purpose === "node" ? node.id : "core", node, version: VERSION, log },
  });
}

/** Asks for a rotation and answers its id. */
async function submit(more: Record<string, unknown> = {}): Promise<{ status: number; body: Record<string, unknown> }> {
  const reply = await lab.fetch("/v1/trust/rotation", {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": crypto.randomUUID() },
    body: JSON.stringify({ reason: "test", ...more }),
  });
  return { status: reply.status, body: (await reply.json()) as Record<string, unknown> };
}

async function untilEnded(id: unknown, patienceMs = 60_000): Promise<Record<string, unknown>> {
  let operation: Record<string, unknown> = {};
  await waitFor(
    async () => {
      // A gateway whose server has just read its files anew may leave one request without an answer.
      const reply = await lab.fetch(`/v1/operations/${String(id)}`).catch(() => undefined);
      if (!reply?.ok) return false;
      operation = (await reply.json()) as Record<string, unknown>;
      return operation["endedAt"] !== null;
    },
    patienceMs,
    () => `${String(id)}: ${JSON.stringify(operation)}`,
  );
  return operation;
}

test("a plan shows each member, and changes nothing", LIMIT, async () => {
  const before = await show();
  const { code, stdout } = await lab.dvctl("trust", "rotate", "--reason", "test", "--dry-run");

  expect(code).toBe(0);
  for (const name of ["node-1", "node-2", "node-3", "node-4"]) expect(stdout).toContain(name);
  expect(await show()).toEqual(before);
});

test("while somebody writes: nothing is lost, and the old authority opens no door afterwards", LIMIT, async () => {
  const [first = ""] = dirs;
  cpSync(path.join(first, "tls"), path.join(lab.dataDir, "old-tls"), { recursive: true });
  const old = nodePaths(first).tls;
  const kept = {
    ca: path.join(lab.dataDir, "old-tls", path.basename(old.ca)),
    certificate: path.join(lab.dataDir, "old-tls", path.basename(old.certificate)),
    key: path.join(lab.dataDir, "old-tls", path.basename(old.key)),
  };
  const [gone = ""] = authoritiesOf(first);
  const route = `127.0.0.1:${readMembership(first)?.server?.clusterPort}`;
  expect(await opensRoute(route, kept)).toBe(true);
  const reader = await connect(first, "node-agent");
  const collected = await collectIds(reader);
  const writer = await connect(dirOf(4), "node");
  const publisher = new EventPublisher(writer, readNode(dirOf(4)).id);
  await publisher.more(50);

  const startedAt = performance.now();
  const { status, body } = await submit();
  expect([status, body["state"]]).toEqual([202, expect.any(String)]);
  const done = await untilEnded(body["id"]);
  const ms = Math.round(performance.now() - startedAt);
  await publisher.more(50);
  const written = await publisher.stop();

  expect(done).toMatchObject({ state: "succeeded", undoable: false, result: { missing: [] } });
  await waitFor(
    () => written.every((id) => collected.ids.includes(id)),
    10_000,
    () =>
      `of ${written.length} acknowledged events ${written.filter((id) => !collected.ids.includes(id)).length} are lost`,
  );
  const { authorities, members, generation } = await show();
  expect(generation).toBe(4);
  expect(members.map(({ name, current }) => [name, current])).toEqual(
    ["node-1", "node-2", "node-3", "node-4"].map((name) => [name, true]),
  );
  for (const dir of dirs) {
    expect(authoritiesOf(dir)).toEqual([authorities[0]?.fingerprint]);
    expect(isOf(dir)).toBe(true);
  }
  expect(authorities[0]?.fingerprint).not.toBe(gone);
  for (const dir of dirs.slice(0, 3)) expect(JSON.parse(read(nodePaths(dir).secrets))).not.toHaveProperty("next");
  // A server that was left with the old certificate is let in by no other, and believed by no client.
  expect(await opensRoute(route, old)).toBe(true);
  expect(await opensRoute(route, kept)).toBe(false);
  expect(await believes(old.ca, old)).toBe(true);
  expect(await believes(old.ca, kept)).toBe(false);
  process.stdout.write(
    `[INFO] rotation of 3 servers and a worker: ${ms} ms; ${written.length} events written, longest gap ${Math.round(publisher.longestMs)} ms\n`,
  );
  await Promise.all([collected.stop(), reader.close(), writer.close()]);
});

test("no key is in what anybody is shown", LIMIT, async () => {
  const secret = (JSON.parse(read(nodePaths(dirOf(1)).secrets)) as { authority: { keyPem: string } }).authority.keyPem;
  const [, line = ""] = secret.split("\n");
  const { stdout: events } = await lab.dvctl(
    ...[
      "events",
      "follow",
      "--filter",
      "trust.>",
      "--since",
      "0",
      "--count",
      "1",
      "--timeout",
      "20",
      "--format",
      "json",
    ],
  );
  const audit = await (await lab.fetch("/v1/audit?limit=100")).text();
  const logs = dirs.map((dir) => read(nodePaths(dir).log)).join("");

  expect(line.length).toBeGreaterThan(40);
  expect(JSON.parse(events)).toMatchObject({
    type: "trust.authority.rotated",
    data: { generation: 4, reason: "test" },
  });
  for (const text of [events, audit, logs, JSON.stringify(await show())]) {
    expect(text.length).toBeGreaterThan(100);
    expect(text).not.toContain(line);
  }
});

test("a member that is down refuses it", LIMIT, async () => {
  await lab.dvctl("lab", "stop", "node-4");
  const refused = await submit();
  await lab.dvctl("lab", "start", "node-4");

  expect(refused).toMatchObject({ status: 412, body: { code: "CHECK_FAILED" } });
  expect(JSON.stringify(refused.body)).toContain("node-4");
  await waitFor(
    async () => (await submit({ mode: "check" })).body["state"] === "checked",
    20_000,
    () => "node-4 does not answer again",
  );
});

test("one that is cancelled leaves the old authority working, and the new one's key nowhere", LIMIT, async () => {
  const before = await show();
  const [server = ""] = dirs.slice(1);
  // A member that does not answer holds up the first step.
  const worker = (await lab.nodes()).find(({ name }) => name === "node-4");
  const pids = [worker?.pid ?? 0];
  const { status, body } = await submit();
  expect([status, body["state"]]).toEqual([202, expect.any(String)]);
  for (const pid of pids) process.kill(pid, "SIGSTOP");
  try {
    await sleep(1_000);
    await lab.fetch(`/v1/operations/${String(body["id"])}/cancel`, {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": crypto.randomUUID() },
      body: JSON.stringify({ reason: "test" }),
    });
  } finally {
    for (const pid of pids) process.kill(pid, "SIGCONT");
  }
  const ended = await untilEnded(body["id"]);

  expect(ended).toMatchObject({ state: "cancelled" });
  const after = await show();
  expect(after.authorities).toEqual(before.authorities);
  // Both were believed in between.
  expect(after.generation).toBe(before.generation + 2);
  await waitFor(
    () => dirs.every((dir) => authoritiesOf(dir).join() === before.authorities[0]?.fingerprint && isOf(dir)),
    20_000,
    () => JSON.stringify(dirs.map((dir) => authoritiesOf(dir))),
  );
  expect(JSON.parse(read(nodePaths(server).secrets))).not.toHaveProperty("next");
});
