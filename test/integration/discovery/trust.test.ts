// SPDX-License-Identifier: Apache-2.0
/**
 * The authority of a running cluster is replaced (ADR-0024): three servers and a worker, while somebody writes. Nothing that was
 * acknowledged is lost, what the old authority has signed opens no door afterwards, and a rotation that is cancelled leaves all as it was.
 */
import { cpSync, readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { MembershipEntry } from "@debvisor/proto-events/membership";
import { dialJoin } from "@debvisor/shared/join/dial";
import { nodePaths, readMembership, readNode } from "@debvisor/shared/node-files";
import { spkiHashOf } from "@debvisor/shared/pki/certificate";
import { afterAll, beforeAll, expect, test } from "vitest";
import { collectIds, EventPublisher } from "../../support/event-traffic.ts";
import { type LocalCluster, startLocalCluster } from "../../support/local-cluster.ts";
import { believes, opensRoute } from "../../support/old-leaf.ts";
import { Rotation } from "../../support/rotation.ts";
import { waitFor } from "../../support/wait-for.ts";

const LIMIT = { timeout: 90_000 };
const NAMES = ["node-1", "node-2", "node-3", "node-4"];
const read = (file: string) => readFileSync(file, "utf8");
let lab: LocalCluster;
let rotation: Rotation;

beforeAll(async () => {
  lab = await startLocalCluster({ flags: ["--nodes", "4"] });
  await lab.untilReplicated();
  await lab.untilState({ "node-4": "alive" }, 20_000);
  rotation = await Rotation.of(lab);
}, 90_000);
afterAll(() => lab?.[Symbol.asyncDispose]());

test("a plan shows each member, and changes nothing", LIMIT, async () => {
  const before = await rotation.show();
  const { code, stdout } = await lab.dvctl("trust", "rotate", "--reason", "test", "--dry-run");

  expect(code).toBe(0);
  for (const name of NAMES) expect(stdout).toContain(name);
  expect(await rotation.show()).toEqual(before);
});

test("while somebody writes: nothing is lost, and the old authority opens no door afterwards", LIMIT, async () => {
  const first = rotation.dir(1);
  const now = nodePaths(first).tls;
  const kept = path.join(lab.dataDir, "old-tls");
  cpSync(path.dirname(now.ca), kept, { recursive: true });
  const [ca = "", certificate = "", key = ""] = [now.ca, now.certificate, now.key].map((file) =>
    path.join(kept, path.basename(file)),
  );
  const old = { ca, certificate, key };
  const [gone] = rotation.believed(1);
  const route = `127.0.0.1:${readMembership(first)?.server?.clusterPort}`;
  expect([await opensRoute(route, old), await believes(now.ca, old)]).toEqual([true, true]);
  const reader = await rotation.connect(1, "node-agent");
  const collected = await collectIds(reader);
  const writer = await rotation.connect(4, "node");
  const publisher = new EventPublisher(writer, readNode(rotation.dir(4)).id);
  await publisher.more(50);

  const { status, body } = await rotation.submit();
  expect({ status, ...body }).toMatchObject({ status: 202, state: expect.any(String) });
  const done = await rotation.untilEnded(body["id"]);
  const ms = Date.parse(String(done["endedAt"])) - Date.parse(String(done["createdAt"]));
  await publisher.more(50);
  const written = await publisher.stop();

  expect(done).toMatchObject({ state: "succeeded", undoable: false, result: { missing: [] } });
  const lost = () => written.filter((id) => !collected.ids.includes(id)).length;
  await waitFor(
    () => lost() === 0,
    10_000,
    () => `of ${written.length} acknowledged events ${lost()} are lost`,
  );
  const shown = await rotation.show();
  expect(shown?.generation).toBe(4);
  expect(shown?.members.map(({ name, current }) => [name, current])).toEqual(NAMES.map((name) => [name, true]));
  const [authority] = shown?.authorities ?? [];
  expect(authority?.fingerprint).not.toBe(gone);
  expect(rotation.unsettled(authority?.fingerprint ?? "")).toEqual([]);
  // A server that was left with the old certificate is let in by no other, and believed by no client; the new one is.
  expect([await opensRoute(route, now), await believes(now.ca, now)]).toEqual([true, true]);
  expect([await opensRoute(route, old), await believes(now.ca, old)]).toEqual([false, false]);
  process.stdout.write(
    `[INFO] rotation of 3 servers and a worker: ${ms} ms; ${written.length} events written, longest gap ${Math.round(publisher.longestMs)} ms\n`,
  );
  await Promise.all([collected.stop(), reader.close(), writer.close()]);
});

test("no key is in what anybody is shown", LIMIT, async () => {
  const secrets = JSON.parse(read(nodePaths(rotation.dir(1)).secrets)) as { authority: { keyPem: string } };
  const [, line = ""] = secrets.authority.keyPem.split("\n");
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
  const logs = rotation.dirs.map((dir) => read(nodePaths(dir).log)).join("");

  expect(line.length).toBeGreaterThan(40);
  expect(JSON.parse(events)).toMatchObject({
    type: "trust.authority.rotated",
    data: { generation: 4, reason: "test" },
  });
  for (const text of [events, audit, logs, JSON.stringify(await rotation.show())]) {
    expect(text.length).toBeGreaterThan(100);
    expect(text).not.toContain(line);
  }
});

test("a server gives the keys of the cluster to a server, and to nobody else", LIMIT, async () => {
  const { joinServers } = readMembership(rotation.dir(4)) ?? { joinServers: [] };
  const own = spkiHashOf(read(nodePaths(rotation.dir(1)).identity));
  const place = joinServers.find(({ spki }) => spki === own);
  if (!place) throw new Error("node-1 lets nobody in");
  const answers: unknown[] = [];
  for (const n of [2, 4]) {
    const identityPem = read(nodePaths(rotation.dir(n)).identity);
    const channel = await dialJoin({ ...place, identityPem, proof: { kind: "member", spkis: [own] } });
    const answer = await channel.ask({ kind: "secrets" }, 3_000);
    channel.close();
    answers.push([n, answer.kind, answer.kind === "refused" ? answer.code : null]);
  }

  expect(answers).toEqual([
    [2, "secrets", null],
    [4, "refused", "PERMISSION_DENIED"],
  ]);
});

test("a worker that is off refuses it, is left out when it is named, and comes back", LIMIT, async () => {
  const before = await rotation.show();
  await lab.dvctl("lab", "stop", "node-4");
  const refused = await rotation.submit();
  const server = await rotation.submit({ without: "node-2" });
  const { body } = await rotation.submit({ without: "node-4" });
  const done = await rotation.untilEnded(body["id"]);
  const [old] = rotation.believed(4);
  await lab.dvctl("lab", "start", "node-4");

  expect(refused).toMatchObject({ status: 412, body: { code: "CHECK_FAILED" } });
  expect(JSON.stringify(refused.body)).toContain("--without node-4");
  expect(server).toMatchObject({ status: 400, body: { code: "INVALID_ARGUMENT" } });
  expect(done).toMatchObject({ state: "succeeded", result: { missing: [] } });
  expect(old).toBe(before?.authorities[0]?.fingerprint);
  await rotation.untilReady();
  const [authority] = (await rotation.show())?.authorities ?? [];
  expect(authority?.fingerprint).not.toBe(old);
  expect(rotation.unsettled(authority?.fingerprint ?? "")).toEqual([]);
});

test("one that is cancelled leaves the old authority working, and the new one's key nowhere", LIMIT, async () => {
  const before = await rotation.show();
  const [authority] = before?.authorities ?? [];
  const pid = (await lab.nodes()).find(({ name }) => name === "node-4")?.pid ?? 0;
  const { status, body } = await rotation.submit();
  expect({ status, ...body }).toMatchObject({ status: 202, state: expect.any(String) });
  // A member that does not answer holds up the first step.
  process.kill(pid, "SIGSTOP");
  try {
    await sleep(1_000);
    await rotation.cancel(body["id"]);
  } finally {
    process.kill(pid, "SIGCONT");
  }

  expect(await rotation.untilEnded(body["id"])).toMatchObject({ state: "cancelled" });
  // Both were believed in between.
  expect(await rotation.show()).toMatchObject({ authorities: [authority], generation: (before?.generation ?? 0) + 2 });
  await waitFor(
    () => rotation.unsettled(authority?.fingerprint ?? "").length === 0,
    20_000,
    () => rotation.unsettled(authority?.fingerprint ?? "").join("; "),
  );
});

test("one that broke off in its last step is finished by the next, whose plan has that step alone", LIMIT, async () => {
  const { id, from, to } = await rotation.heldAfterIssue();
  // As if another operation had been there meanwhile: the last step is refused, and what it has begun cannot be undone.
  const bus = await rotation.connect(1, "discovery");
  const bucket = await bus.bucket("dv_members", MembershipEntry);
  const before = await bucket.get("trust");
  if (before?.value.kind !== "trust" || !before.value.order) throw new Error("there is no entry about the authority");
  const order = { ...before.value.order, operation: "op-aaaaaaaaaaaaa", fence: before.value.order.fence + 1 };
  await bucket.update("trust", { ...before.value, order }, before.revision);
  await bus.close();
  await rotation.control("continue", id);
  const broken = await rotation.untilEnded(id);
  const left = await rotation.show();
  const plan = await rotation.planned();
  const { body } = await rotation.submit();

  expect(broken).toMatchObject({ state: "failed", error: { code: "COMMAND_FENCED" } });
  expect(left?.authorities).toMatchObject([
    { fingerprint: from, issues: false },
    { fingerprint: to, issues: true },
  ]);
  expect(plan).toEqual(["remove"]);
  expect(await rotation.untilEnded(body["id"])).toMatchObject({
    state: "succeeded",
    result: { missing: [], authority: to },
  });
  await rotation.untilSettled(to);
});
