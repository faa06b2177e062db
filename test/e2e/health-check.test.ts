// SPDX-License-Identifier: Apache-2.0
/** `debvisor-health-check` on a machine without a cluster, on a member, and beside a cluster that does not answer. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { Health } from "@debvisor/proto-events/node-agent";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type LocalCluster, runCommand, startLocalCluster } from "../support/local-cluster.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const PROGRAM = path.join(ROOT, "apps/cli/bin/debvisor-health-check.cjs");
const home = mkdtempSync(path.join(tmpdir(), "dv-home-"));
/** No context: neither by variable nor by file. The empty text counts as not set. */
const ALONE = { DV_CONTEXT: "", HOME: home };

let lab: LocalCluster;

beforeAll(async () => {
  lab = await startLocalCluster();
  await lab.untilReplicated();
});

afterAll(async () => {
  await lab[Symbol.asyncDispose]();
  rmSync(home, { recursive: true });
});

function check(flags: readonly string[], env: Readonly<Record<string, string>> = ALONE, cwd = home) {
  return runCommand("env", ["--chdir", cwd, "node", PROGRAM, ...flags], env);
}

test("a machine without a cluster is checked by itself", async () => {
  const { code, stdout, stderr } = await check(["--json"]);

  const report = JSON.parse(stdout);
  const [{ data }] = report.nodes.results;
  expect(stderr).toContain("checking this machine alone");
  expect(Health.parse(data).checks.map(({ group }) => group)).toEqual(
    expect.arrayContaining(["binaries", "resources"]),
  );
  expect(code).toBe(report.verdict === "healthy" || report.verdict === "degraded" ? 0 : 6);
});

test("the four groups of the troubleshooting guide can be asked for by name", async () => {
  const only = "connectivity,permissions,services,configuration";
  const { stdout } = await check(["--role", "worker", "--only", only, "--format", "json"]);

  const checks = JSON.parse(stdout).nodes.results[0].data.checks as { id: string; group: string }[];
  expect([...new Set(checks.map(({ group }) => group))].sort()).toEqual(only.split(",").sort());
  expect(checks.map(({ id }) => id)).toEqual(
    expect.arrayContaining(["connectivity.ssh-keys", "permissions.sudo", "permissions.config-files"]),
  );
});

test("an ordinary user gets a verdict too, and is told who looked", async () => {
  const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  const become = process.getuid?.() === 0 ? nobody : [];
  const [program = "", ...args] = [...become, "env", "--chdir", "/", "node", PROGRAM, "--json"];
  const { stdout, stderr } = await runCommand(program, args, { ...ALONE, HOME: "/nonexistent" });

  const checks = JSON.parse(stdout).nodes.results[0].data.checks as { id: string; message: string }[];
  expect(stderr).not.toContain("    at ");
  expect(checks.find(({ id }) => id === "permissions.user")?.message).toMatch(/user [1-9]/);
});

test("a member asks the cluster, and this machine alone with --local", async () => {
  const env = { DV_CONTEXT: lab.contextFile };
  const [whole, local] = await Promise.all([check(["--quick"], env), check(["--quick", "--local"], env)]);

  expect(whole).toMatchObject({ code: 0 });
  expect(whole.stdout).toContain("node-3");
  expect(local.stdout).not.toContain("node-3");
  expect(local.stdout).toContain("Verdict:");
});

test("a gateway that does not answer is exit code 4, with a word about --local", async () => {
  const { code, stderr } = await check(["--server", "http://127.0.0.1:2"]);

  expect(code).toBe(4);
  expect(stderr).toContain("debvisor-health-check --local");
});

test("lab start --wait ends when the node is heard again, status --wait when all is well", async () => {
  await lab.dvctl("lab", "kill", "node-3");
  const started = await lab.dvctl("lab", "start", "node-3", "--wait", "30s");
  const well = await lab.dvctl("status", "--wait", "60s");

  expect(started).toMatchObject({ code: 0 });
  expect(started.stderr).toContain("node-3 is alive");
  expect(well.code).toBe(0);
  expect(well.stdout).toMatch(/^Cluster \S+ is ok, 3 nodes: 3 alive$/m);
});
