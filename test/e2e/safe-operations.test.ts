// SPDX-License-Identifier: Apache-2.0
/** Changing things as an operator types it, on a real cluster of three: plan, consent, apply, undo, maintenance, proof. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type CommandResult, type LocalCluster, startLocalCluster } from "../support/local-cluster.ts";

let lab: LocalCluster;
let folder: string;
let roots: readonly string[];

beforeAll(async () => {
  lab = await startLocalCluster();
  await lab.untilReplicated();
  folder = path.join(lab.dataDir, "typed");
  mkdirSync(folder);
  const { items } = JSON.parse((await lab.dvctl("nodes", "list", "--format", "json")).stdout) as {
    items: readonly { readonly id: string }[];
  };
  roots = items.map(({ id }) => path.join(lab.dataDir, "nodes", id, "root"));
});

afterAll(async () => {
  await lab[Symbol.asyncDispose]();
});

interface Shown {
  readonly id: string;
  readonly state: string;
  readonly changed: boolean | null;
}

/** Writes the text on all nodes by command. */
function put(text: string, ...flags: readonly string[]): Promise<CommandResult> {
  const file = path.join(folder, "motd");
  writeFileSync(file, text);
  return lab.dvctl("nodes", "file", "put", "--from-file", file, "--to", "/etc/motd", "--nodes", "all", ...flags);
}

function files(): readonly string[] {
  return roots.map((root) => {
    try {
      return readFileSync(path.join(root, "etc/motd"), "utf8");
    } catch {
      return "";
    }
  });
}

const shown = ({ stdout }: CommandResult) => JSON.parse(stdout) as Shown;

describe("a file on all nodes", () => {
  it("is planned, checked and summarised without a change", async () => {
    const plan = await put("one\n", "--dry-run", "--diff");
    const check = await put("one\n", "--check");
    const summary = await put("one\n");

    expect([plan.code, check.code, summary.code]).toEqual([0, 0, 0]);
    expect(plan.stdout).toMatch(/1\. node-1 .*\n +2\. node-2 .*\n +3\. node-3/);
    expect(plan.stdout).toContain("+one");
    expect(summary.stderr).toContain("nothing changed, add --confirm");
    expect(files()).toEqual(["", "", ""]);
  });

  it("is written with --confirm; the second time there is no change; undone it is as before", async () => {
    const first = await put("one\n", "--confirm");
    const again = await put("one\n");
    const second = await put("two\n", "--confirm", "--format", "json");
    const written = files();
    const back = await lab.dvctl("nodes", "file", "put", "--rollback", "--confirm");

    expect([first.code, again.code, second.code, back.code]).toEqual([0, 0, 0, 0]);
    expect(again.stdout).toContain("no change");
    expect(shown(second)).toMatchObject({ state: "succeeded", changed: true });
    expect(written).toEqual(["two\n", "two\n", "two\n"]);
    expect(files()).toEqual(["one\n", "one\n", "one\n"]);
  });
});

describe("a service", () => {
  it("is restarted only with consent", async () => {
    const restart = (...flags: string[]) => lab.dvctl("nodes", "service", "restart", "node-2", "node-agent", ...flags);

    const refused = await restart();
    const check = await restart("--check");
    const done = await restart("--confirm");

    expect([refused.code, check.code, done.code]).toEqual([2, 0, 0]);
    expect(refused.stderr).toContain("needs --confirm");
  });

  it.each([
    [["node-2", "nginx", "--check"], 6],
    [["node-9", "node-agent", "--check"], 3],
  ])("%j is refused", async (argv, expected) => {
    expect((await lab.dvctl("nodes", "service", "restart", ...argv)).code).toBe(expected);
  });
});

describe("maintenance", () => {
  it("keeps others off the node until it is ended, and says who holds it", async () => {
    const enabled = await lab.dvctl("maintenance", "enable", "node-2", "--reason", "disk swap", "--until", "2h");
    const status = await lab.dvctl("maintenance", "status");
    const created = await lab.dvctl("tokens", "create", "other", "--role", "admin", "--format", "json");
    const { secret } = JSON.parse(created.stdout) as { secret: string };
    const body = { to: "/etc/motd", nodes: "node-2", contentBase64: "eA==" };
    const other = await lab.fetch("/v1/files/put", {
      method: "POST",
      headers: {
        authorization: `Bearer ${secret}`,
        "content-type": "application/json",
        "idempotency-key": "another-1",
      },
      body: JSON.stringify(body),
    });
    const ended = await lab.command("debvisor-maintenance", "disable", "--node", "node-2");
    const again = await lab.command("debvisor-maintenance", "disable", "--node", "node-2");

    expect([enabled.code, status.code, ended.code, again.code], ended.stderr).toEqual([0, 0, 0, 0]);
    expect(status.stdout).toMatch(/node-2 .*disk swap/);
    expect(other.status).toBe(423);
    expect(await other.json()).toMatchObject({ code: "IN_MAINTENANCE" });
    expect(again.stdout).toContain("no change");
  });
});

describe("a running operation", () => {
  it("can be asked why it waits, refuses a second one on its locks, and is waited for", async () => {
    const { stdout } = await lab.dvctl("nodes", "reboot", "node-3", "--confirm", "--detach");
    const id = stdout.trim();
    const contender = await lab.dvctl("nodes", "reboot", "node-3", "--confirm");
    const why = await lab.dvctl("operations", "why", id);
    const end = await lab.dvctl("operations", "wait", id, "--format", "json");

    expect(id).toMatch(/^op-[a-z2-7]{13}$/);
    if (contender.code !== 0) expect([contender.code, contender.stderr]).toEqual([5, expect.stringContaining(id)]);
    expect(why.code).toBe(0);
    expect(end.code).toBe(0);
    expect(shown(end)).toMatchObject({ id, state: "succeeded" });
  });

  it("is cancelled", async () => {
    const started = await lab.dvctl("nodes", "reboot", "node-2,node-3", "--override", "test", "--confirm", "--detach");
    const cancelled = await lab.dvctl("operations", "cancel", started.stdout.trim(), "--format", "json");

    expect(cancelled.code).toBe(0);
    expect(shown(cancelled).state).toBe("cancelled");
  });
});

describe("the trail", () => {
  it("holds every run with who, what and result, and is verified here and elsewhere", async () => {
    const list = await lab.dvctl("audit", "list", "--format", "json");
    const verified = await lab.dvctl("audit", "verify", "--signatures", "--format", "json");
    const exported = await lab.dvctl("audit", "export");
    const file = path.join(folder, "trail.jsonl");
    writeFileSync(file, exported.stdout);
    const offline = await lab.command("debvisor-audit-verify", file);
    writeFileSync(file, exported.stdout.replace('"action":"host.put-file"', '"action":"host.get-file"'));
    const altered = await lab.command("debvisor-audit-verify", file);

    const { items } = JSON.parse(list.stdout) as {
      items: readonly { readonly action: string; readonly user: string | null }[];
    };
    expect(items.filter(({ action }) => action === "host.put-file").length).toBeGreaterThan(5);
    expect(JSON.parse(verified.stdout)).toMatchObject({ ok: true, findingsInAll: expect.any(Number) });
    expect([verified.code, exported.code, offline.code, altered.code]).toEqual([0, 0, 0, 6]);
  });
});
