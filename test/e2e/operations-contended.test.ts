// SPDX-License-Identifier: Apache-2.0
/** Two people at one cluster: what the second one is told, the queue, trials, conditions and repeats over HTTP, waiting. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { rootsOf } from "../support/demo-world.ts";
import { type CommandResult, type LocalCluster, runCommand, startLocalCluster } from "../support/local-cluster.ts";
import { waitFor } from "../support/wait-for.ts";

const CLI = path.resolve(import.meta.dirname, "../../apps/cli/bin/dvctl.cjs");

let lab: LocalCluster;
let folder: string;
let roots: ReadonlyMap<string, string>;
/** Context file of somebody else with the same rights. */
let other: string;

beforeAll(async () => {
  lab = await startLocalCluster();
  await lab.untilReplicated();
  folder = path.join(lab.dataDir, "typed");
  mkdirSync(folder);
  roots = rootsOf(lab, await lab.nodes());
  const created = await lab.dvctl("tokens", "create", "second", "--role", "admin", "--format", "json");
  const { secret } = JSON.parse(created.stdout) as { secret: string };
  other = path.join(folder, "other.json");
  const context = JSON.parse(readFileSync(lab.contextFile, "utf8")) as object;
  writeFileSync(other, JSON.stringify({ ...context, token: secret }), { mode: 0o600 });
});

afterAll(async () => {
  await lab[Symbol.asyncDispose]();
});

const byOther = (...args: readonly string[]): Promise<CommandResult> =>
  runCommand("node", [CLI, ...args], { DV_CONTEXT: other, NO_COLOR: "1" });

/** Arguments of a put to one or several nodes. */
function put(file: string, text: string, nodes = "node-1"): readonly string[] {
  const from = path.join(folder, text);
  writeFileSync(from, text);
  return ["nodes", "file", "put", "--from-file", from, "--to", file, "--nodes", nodes];
}

function content(file: string, node = "node-1"): string {
  try {
    return readFileSync(path.join(roots.get(node) ?? "", file), "utf8");
  } catch {
    return "";
  }
}

const idOf = ({ stdout }: CommandResult): string => stdout.trim();
const json = <T>({ stdout }: CommandResult): T => JSON.parse(stdout) as T;

async function post(route: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  const type = { "content-type": "application/json" };
  return await lab.fetch(route, { method: "POST", headers: { ...type, ...headers }, body: JSON.stringify(body) });
}

const body = (to: string, text: string) => ({ to, nodes: "node-1", contentBase64: btoa(text) });

describe("a held lock", () => {
  it("refuses the second one at once, and names the holder and the way out", async () => {
    const id = idOf(await lab.dvctl(...put("/etc/held", "held"), "--reason", "trial run", "--try", "20s", "--detach"));
    const startedAt = performance.now();
    const refused = await byOther(...put("/etc/held", "else"));
    const refusedMs = performance.now() - startedAt;
    const locks = await lab.dvctl("locks", "list", "--format", "json");
    const ended = await lab.dvctl("operations", "cancel", id);

    expect([refused.code, ended.code], refused.stderr).toEqual([5, 0]);
    expect(refused.stderr).toContain("LOCK_HELD");
    expect(refused.stderr).toContain(id);
    expect(refused.stderr).toContain("operator");
    expect(refusedMs).toBeLessThan(10_000);
    expect(json<{ items: unknown[] }>(locks).items).toMatchObject([
      { operation: id, actor: "operator", reason: "trial run", waiting: [] },
    ]);
    expect(content("/etc/held")).toBe("");
  });

  it("is waited for in a queue, with a reason to read, and the last one counts", async () => {
    const first = idOf(await lab.dvctl(...put("/etc/queue", "first"), "--try", "60s", "--detach"));
    const second = idOf(await byOther(...put("/etc/queue", "second"), "--wait=60s", "--detach"));
    const why = await lab.dvctl("operations", "why", second);
    const locks = await lab.dvctl("locks", "list", "--format", "json");
    const cancelled = await lab.dvctl("operations", "cancel", first);
    const end = await lab.dvctl("operations", "wait", second);

    expect([why.code, cancelled.code, end.code], end.stderr).toEqual([0, 0, 0]);
    expect(why.stdout).toContain(first);
    expect(json<{ items: { waiting: { operation: string }[] }[] }>(locks).items[0]?.waiting).toMatchObject([
      { operation: second },
    ]);
    expect(content("/etc/queue")).toBe("second");
  });
});

describe("maintenance by somebody else", () => {
  it("refuses with who, since when, why and how to end it; its holder goes on", async () => {
    await lab.dvctl("maintenance", "enable", "node-2", "--reason", "disk swap", "--until", "2h");
    const refused = await byOther("nodes", "service", "restart", "node-2", "audit", "--confirm");
    const elsewhere = await byOther(...put("/etc/elsewhere", "free", "node-1"));
    const own = await lab.dvctl(...put("/etc/own", "own", "node-2"));
    const ended = await byOther("maintenance", "disable", "node-2");
    const free = await byOther(...put("/etc/own", "after", "node-2"));

    expect([refused.code, elsewhere.code, own.code, ended.code, free.code], refused.stderr).toEqual([5, 0, 0, 0, 0]);
    expect(refused.stderr).toContain("IN_MAINTENANCE");
    expect(refused.stderr).toMatch(/by (operator|root)/);
    expect(refused.stderr).toMatch(/disk swap/);
    expect(refused.stderr).toMatch(/since .*20\d\d-/);
    expect(refused.stderr).toMatch(/dvctl maintenance disable node-2/);
  });

  it("of the cluster refuses changes of every node and lets looking through", async () => {
    const enabled = await lab.dvctl("maintenance", "enable", "--cluster", "--reason", "move");
    const refused = await byOther(...put("/etc/elsewhere", "no", "node-3"));
    const looked = await byOther("operations", "list");
    const ended = await lab.dvctl("maintenance", "disable", "--cluster");

    expect([enabled.code, refused.code, looked.code, ended.code], refused.stderr).toEqual([0, 5, 0, 0]);
  });

  it("ends by itself when its time is over", async () => {
    const enabled = await lab.dvctl("maintenance", "enable", "node-3", "--until", "2s");
    await waitFor(
      async () => ((await (await lab.fetch("/v1/maintenance")).json()) as { items: unknown[] }).items.length === 0,
      15_000,
      () => "node-3 is still in maintenance",
    );
    const free = await byOther(...put("/etc/expired", "free", "node-3"));
    const list = await lab.dvctl("audit", "list", "--node", "node-3", "--format", "json");

    expect([enabled.code, free.code], free.stderr).toEqual([0, 0]);
    expect(list.stdout).toContain("maintenance.expire");
  });
});

describe("a trial", () => {
  it("stays when it is confirmed in time, and undoes itself when it is not", async () => {
    const kept = idOf(await lab.dvctl(...put("/etc/kept", "kept"), "--try", "30s", "--detach"));
    const undone = await lab.dvctl(...put("/etc/undone", "undone"), "--try", "1s");
    const confirmed = await lab.dvctl("operations", "confirm", kept);

    expect([confirmed.code, undone.code], undone.stderr).toEqual([0, 5]);
    expect([content("/etc/kept"), content("/etc/undone")]).toEqual(["kept", ""]);
  });
});

describe("over HTTP", () => {
  it("a plan is an answer without a record, and its ETag admits the change until the world has moved", async () => {
    const planned = await post("/v1/files/put?mode=plan", body("/etc/http", "one"), { "idempotency-key": "plan-1" });
    const etag = planned.headers.get("etag") ?? "";
    const plan = (await planned.json()) as { id: unknown; state: string; plan: { digest: string } };
    const applied = await post("/v1/files/put", body("/etc/http", "one"), {
      "idempotency-key": "apply-1",
      "if-match": etag,
    });
    const { id } = (await applied.json()) as { id: string };
    await lab.dvctl("operations", "wait", id);
    const stale = await post("/v1/files/put", body("/etc/http", "one"), {
      "idempotency-key": "apply-2",
      "if-match": etag,
    });

    expect([planned.status, applied.status, stale.status]).toEqual([200, 202, 412]);
    expect(plan).toMatchObject({ id: null, state: "planned" });
    expect(etag).toBe(`"${plan.plan.digest}"`);
    expect(applied.headers.get("location")).toBe(`/v1/operations/${id}`);
    expect(await stale.json()).toMatchObject({ code: "PLAN_STALE" });
    expect(content("/etc/http")).toBe("one");
  });

  it("a repeat of a request is the same operation, on every gateway; its key admits no other request", async () => {
    const key = { "idempotency-key": "same-1" };
    const first = (await (await post("/v1/files/put", body("/etc/same", "same"), key)).json()) as { id: string };
    const init = { method: "POST", headers: { "content-type": "application/json", ...key } };
    const repeat = await lab.fetch("/v1/files/put", { ...init, body: JSON.stringify(body("/etc/same", "same")) }, 2);
    const another = await post("/v1/files/put", body("/etc/same", "another"), key);
    const list = (await (await lab.fetch("/v1/operations?limit=200")).json()) as { items: { id: string }[] };

    expect(repeat.status).toBe(202);
    expect(await repeat.json()).toMatchObject({ id: first.id });
    expect([another.status, await another.json()]).toMatchObject([409, { code: "IDEMPOTENCY_KEY_REUSED" }]);
    expect(list.items.filter(({ id }) => id === first.id).length).toBe(1);
  });

  it("a wait answers in time although nothing has changed, and a control holds to its revision", async () => {
    const id = idOf(await lab.dvctl(...put("/etc/wait", "wait"), "--try", "30s", "--detach"));
    await waitFor(
      async () => ((await (await lab.fetch(`/v1/operations/${id}`)).json()) as { state: string }).state === "trying",
      10_000,
      () => `${id} is not on trial`,
    );
    const startedAt = performance.now();
    const waited = await lab.fetch(`/v1/operations/${id}/wait?seconds=1`);
    const ms = performance.now() - startedAt;
    const command = await lab.dvctl("operations", "wait", id, "--timeout", "1s");
    const wrong = await post(`/v1/operations/${id}/cancel`, {}, { "idempotency-key": "c-1", "if-match": '"1"' });
    const shown = await lab.fetch(`/v1/operations/${id}`);
    const right = await post(
      `/v1/operations/${id}/cancel`,
      {},
      { "idempotency-key": "c-2", "if-match": shown.headers.get("etag") ?? "" },
    );
    const end = await lab.dvctl("operations", "wait", id, "--format", "json");

    expect([waited.status, await waited.json()]).toMatchObject([200, { id, state: "trying" }]);
    expect(ms).toBeGreaterThan(900);
    expect(ms).toBeLessThan(5_000);
    expect(command.code).toBe(124);
    expect([wrong.status, right.status]).toEqual([412, 200]);
    expect(json<{ state: string }>(end).state).toBe("cancelled");
    expect(content("/etc/wait")).toBe("");
  });
});

describe("the latest run of a command", () => {
  it("is shown by --status and undone by --rollback, each user's own", async () => {
    await lab.dvctl(...put("/etc/latest", "mine"));
    await byOther(...put("/etc/latest-other", "other"));
    const status = await lab.dvctl("nodes", "file", "put", "--status", "--format", "json");
    const back = await lab.dvctl("nodes", "file", "put", "--rollback", "--confirm");
    const maintained = await lab.command(
      "debvisor-maintenance",
      "enable",
      "--node",
      "node-1",
      "--reason",
      "own command",
    );
    const own = await lab.command("debvisor-maintenance", "status");
    const undone = await lab.command("debvisor-maintenance", "enable", "--rollback", "--confirm");
    const after = await lab.dvctl("maintenance", "status");

    expect([status.code, back.code, maintained.code, own.code, undone.code, after.code], undone.stderr).toEqual([
      0, 0, 0, 0, 0, 0,
    ]);
    expect(json(status)).toMatchObject({ type: "host.put-file", actor: "operator", state: "succeeded" });
    expect([content("/etc/latest"), content("/etc/latest-other")]).toEqual(["", "other"]);
    expect(own.stdout).toMatch(/node-1 .*own command/);
    expect(after.stdout).not.toContain("node-1");
  });
});
