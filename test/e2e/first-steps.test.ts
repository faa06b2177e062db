// SPDX-License-Identifier: Apache-2.0
/** What a newcomer types after `npm start`, on a real cluster of three. */
import { spawn } from "node:child_process";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type LocalCluster, startLocalCluster } from "../support/local-cluster.ts";

let lab: LocalCluster;

beforeAll(async () => {
  lab = await startLocalCluster();
});

afterAll(async () => {
  await lab[Symbol.asyncDispose]();
});

test("the first line comes within a second, then the timeline and the addresses", () => {
  const timeline = lab.output.split("\n");
  const at = (pattern: RegExp) => timeline.findIndex((line) => pattern.test(line));

  expect(lab.firstLineMs).toBeLessThan(1_000);
  for (const name of ["node-2", "node-3"]) {
    expect(at(new RegExp(`${name} +found .*; each has proved itself`))).toBeGreaterThan(0);
    expect(at(new RegExp(`${name} +admitted`))).toBeGreaterThan(at(new RegExp(`${name} +found`)));
  }
  expect(at(/ready: 3 nodes alive/)).toBeGreaterThan(at(/cluster of one/));
  expect(lab.output).toContain(`http://127.0.0.1:${lab.port}/docs`);
});

test("nodes list shows three living servers, as a table and as the API's own reply", async () => {
  const table = await lab.dvctl("nodes", "list");
  const json = await lab.dvctl("nodes", "list", "--format", "json");
  const api = await (await lab.fetch("/v1/nodes")).json();

  expect(table.code).toBe(0);
  expect(table.stdout.split("\n")[0]).toMatch(/ID +NAME +ROLE +STATE +LAST SEEN +VERSION +LOAD +MEMORY/);
  const items = (JSON.parse(json.stdout) as { items: { id: string; name: string; state: string }[] }).items;
  expect(items.map(({ name, state }) => [name, state])).toEqual([
    ["node-1", "alive"],
    ["node-2", "alive"],
    ["node-3", "alive"],
  ]);
  expect(Object.keys(JSON.parse(json.stdout))).toEqual(Object.keys(api as object));
});

test("facts of all nodes are those of this machine, one answer per node", async () => {
  const { code, stdout } = await lab.dvctl("facts", "show", "--nodes", "all", "--format", "json");

  const reply = JSON.parse(stdout);
  expect(code).toBe(0);
  expect(reply.census).toMatchObject({
    total: 3,
    ok: 3,
    failed: 0,
    unreachable: 0,
    timedOut: 0,
    skipped: 0,
    refused: 0,
  });
  const { stdout: kernel } = await runUname();
  for (const { data } of reply.results) expect(data.kernel.release).toBe(kernel.trim());
});

test("a fresh cluster is healthy", async () => {
  const run = await lab.dvctl("health", "run", "--nodes", "all", "--format", "json");
  const quick = await lab.command("debvisor-health-check", "--quick");
  const full = await lab.command("debvisor-health-check", "--format", "json");

  expect(run.code).toBe(0);
  for (const { data } of JSON.parse(run.stdout).results)
    expect(data).toMatchObject({ verdict: "healthy", score: 100, counts: { failed: 0 } });
  expect([quick.code, full.code]).toEqual([0, 0]);
  expect(JSON.parse(full.stdout)).toBeTypeOf("object");
});

test("services list names every part on every node", async () => {
  const { stdout } = await lab.dvctl("services", "list", "--format", "json");

  const items = JSON.parse(stdout).items as { service: string; part: string; nodeName: string; requests: number }[];
  const seen = items.map(({ service, part, nodeName }) => `${nodeName} ${service} ${part}`);
  for (const node of ["node-1", "node-2", "node-3"]) {
    for (const instance of ["discovery core", "gateway core", "node-agent node"])
      expect(seen).toContain(`${node} ${instance}`);
  }
  const counted = items.filter(({ service }) => service === "gateway").map(({ requests }) => requests);
  expect(Math.max(...counted)).toBeGreaterThan(0);
});

test("events of the last minutes can be read back and followed", async () => {
  const { code, stdout } = await lab.dvctl(
    "events",
    "follow",
    "--filter",
    "node-agent.>",
    "--since",
    "10m",
    "--until-caught-up",
    "--format",
    "json",
  );

  const events = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { type: string; seq: number; data: { name: string } });
  expect(code).toBe(0);
  expect(
    events
      .filter(({ type }) => type === "node-agent.agent.started")
      .map(({ data }) => data.name)
      .sort(),
  ).toEqual(["node-1", "node-2", "node-3"]);
  expect(events.map(({ seq }) => seq)).toEqual([...new Set(events.map(({ seq }) => seq))].sort((a, b) => a - b));
});

test("the printed token opens the API with curl, and nothing opens it without one", async () => {
  const { stdout } = await lab.dvctl("token", "show");

  const withToken = await fetch(`http://127.0.0.1:${lab.port}/v1/nodes`, {
    headers: { authorization: `Bearer ${stdout.trim()}` },
  });
  const without = await fetch(`http://127.0.0.1:${lab.port}/v1/nodes`);

  expect(withToken.status).toBe(200);
  expect(without.status).toBe(401);
  expect(without.headers.get("content-type")).toContain("application/problem+json");
});

test("a token narrower than the administrator's is held to its role on every gateway, and revoked at once", async () => {
  const created = JSON.parse(
    (await lab.dvctl("tokens", "create", "ci", "--role", "viewer", "--format", "json")).stdout,
  ) as { secret: string; token: { id: string } };
  const headers = { authorization: `Bearer ${created.secret}`, "idempotency-key": "k1" };

  const read = await eventually(() => lab.fetch("/v1/nodes", { headers }, 2), 200);
  const write = await lab.fetch(
    "/v1/nodes/node-3/disable",
    { method: "POST", headers: { ...headers, "content-type": "application/json" }, body: '{"reason":"test"}' },
    2,
  );
  const revoked = await lab.dvctl("tokens", "revoke", created.token.id, "--confirm");
  const after = await eventually(() => lab.fetch("/v1/nodes", { headers }, 3), 401);

  expect([read, write.status, revoked.code, after]).toEqual([200, 403, 0, 401]);
});

test("disabled nodes are skipped, named and brought back, by enabling or by rolling back", async () => {
  const disable = (...more: string[]) => lab.dvctl("nodes", "disable", "node-3", "--reason", "disk swap", ...more);
  const shown = await disable("--dry-run");
  await lab.untilState({ "node-3": "alive" }, 1_000);
  const disabled = await disable();
  const during = JSON.parse((await lab.dvctl("metrics", "show", "--nodes", "all", "--format", "json")).stdout);
  const enabled = await lab.dvctl("nodes", "enable", "node-3");
  expect(enabled).toMatchObject({ code: 0 });
  await lab.untilState({ "node-3": "alive" }, 10_000);
  const again = await disable();
  const back = await lab.dvctl("nodes", "disable", "--rollback", "--confirm");
  await lab.untilState({ "node-3": "alive" }, 10_000);

  expect([shown, disabled, enabled, again, back].map(({ code }) => code)).toEqual([0, 0, 0, 0, 0]);
  expect(shown.stdout).toContain("disabled: disk swap");
  expect(during.census).toMatchObject({ total: 3, ok: 2, skipped: 1 });
});

test("selections: nothing matched is 3, none named is 2, an unknown node is 3", async () => {
  const codes = await Promise.all([
    lab.dvctl("facts", "show", "--nodes", "role=worker"),
    lab.dvctl("facts", "show"),
    lab.dvctl("nodes", "show", "node-9"),
  ]);

  expect(codes.map(({ code }) => code)).toEqual([3, 2, 3]);
});

test("mDNS discovery by a server finds the members", async () => {
  const { code, stdout } = await lab.dvctl("discover", "--seconds", "1.5", "--format", "json");

  const members = (JSON.parse(stdout).items as { name: string; member: string; port: number }[]).filter(
    ({ member }) => member === "yes",
  );
  expect(code).toBe(0);
  expect(members.map(({ name }) => name).sort()).toEqual(["node-1", "node-2", "node-3"]);
});

test("the replicas of every stream are raised to three, and an event says so", async () => {
  const { stdout } = await lab.dvctl(
    "events",
    "follow",
    "--filter",
    "cluster.replicas.raised",
    "--since",
    "10m",
    "--count",
    "1",
    "--timeout",
    "60",
    "--format",
    "json",
  );

  const ids = (await lab.nodes()).map(({ id }) => `${id}-1`).sort();
  expect(JSON.parse(stdout).data).toMatchObject({ replicas: 3, servers: ids });
});

function runUname(): Promise<{ stdout: string }> {
  return new Promise((resolve) => {
    const child = spawn("uname", ["-r"]);
    let stdout = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.once("close", () => resolve({ stdout }));
  });
}

/** A change made through one gateway reaches the others within moments. */
async function eventually(request: () => Promise<Response>, wanted: number): Promise<number> {
  let status = 0;
  for (let tries = 0; tries < 40 && status !== wanted; tries++) {
    status = (await request()).status;
    if (status !== wanted) await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return status;
}
