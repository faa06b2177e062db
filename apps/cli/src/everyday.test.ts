// SPDX-License-Identifier: Apache-2.0
/** What a person sees who types commands: overviews, the state at a glance, waiting, hints where something is wrong. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type CannedReply, problem, type SeenRequest, startCannedApi } from "../../../test/support/canned-api.ts";
import type { Program } from "./command.ts";
import { dvctlProgram } from "./dvctl-program.ts";
import { healthCheckProgram } from "./health-check-program.ts";
import { runProgram } from "./program.ts";

const folder = mkdtempSync(join(tmpdir(), "dv-everyday-"));
afterAll(() => rmSync(folder, { recursive: true }));

const context = join(folder, "context.json");

async function run(argv: readonly string[], env: Record<string, string> = {}, program: Program = dvctlProgram()) {
  let out = "";
  let err = "";
  const code = await runProgram(program, argv, {
    env: { HOME: folder, ...env },
    cwd: folder,
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    terminal: undefined,
  });
  return { code, out, err };
}

async function against(answer: (request: SeenRequest, number: number) => CannedReply, argv: readonly string[]) {
  await using api = await startCannedApi(answer);
  writeFileSync(context, JSON.stringify({ version: 1, cluster: "c", servers: [api.url], token: "t" }));
  return await run(argv, { DV_CONTEXT: context });
}

function status(state: "ok" | "degraded") {
  const checkedAt = "2026-01-01T00:00:00.000Z";
  return {
    cluster: "c1",
    state,
    version: "0.1.0",
    time: checkedAt,
    nodes: { total: 3, alive: 2, suspect: 0, lost: state === "ok" ? 0 : 1, disabled: state === "ok" ? 1 : 0 },
    components: [{ component: "nodes", state, detail: "2 of 3 alive", checkedAt }],
  };
}

describe("without a command", () => {
  it("shows nouns and verbs, and ends well", async () => {
    const { code, out } = await run([]);

    expect(code).toBe(0);
    expect(out).toMatch(/^ {2}nodes +.*list, show, register/m);
    expect(out.split("\n").length).toBeLessThan(40);
  });

  it("shows the verbs of a noun as an error: nothing was done", async () => {
    const { code, out, err } = await run(["node"]);

    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain("dvctl nodes needs a verb");
    expect(err).toContain("dvctl nodes list");
  });

  it.each([
    [["nodse"], "did you mean nodes?"],
    [["nodes", "lsit"], "did you mean list?"],
    [["nodes", "list", "--formt", "json"], "did you mean --format?"],
    [["nodes", "list", "--limit", "-3"], "--limit: must be at least 1"],
    [["nodes", "list", "--format", "xml"], "--format: must be one of table, json, yaml"],
    [["nodes", "list", "--format"], "--format needs a value"],
    [["nodes", "show"], "NODE is missing: dvctl nodes show NODE"],
    [["nodes", "show", "a", "b"], "too many words (b)"],
    [["health", "run", "--nodes", "all", "--only", "x"], "--only: must be one of binaries,"],
    [["errors", "NODE_NOT_FUOND"], "did you mean NODE_NOT_FOUND?"],
  ])("explains %j", async (argv, expected) => {
    const { code, err } = await run(argv);

    expect([2, 3]).toContain(code);
    expect(err).toContain(expected);
  });
});

describe("the state of the cluster", () => {
  it("stands in the first line", async () => {
    const { out } = await against(() => ({ body: status("degraded") }), ["status"]);

    expect(out.split("\n")[0]).toBe("Cluster c1 is degraded, 3 nodes: 2 alive, 1 lost");
  });

  it("is waited for, with the time left", async () => {
    const { code, out, err } = await against(
      (_, number) => (number === 1 ? { body: status("degraded") } : { body: status("ok") }),
      ["status", "--wait", "30"],
    );

    expect(code).toBe(0);
    expect(out).toContain("Cluster c1 is ok, 3 nodes: 2 alive, 1 disabled");
    expect(err).toMatch(/waiting for the cluster to be ok: degraded.*left/);
  });

  it("is shown when it did not come in time: exit code 6", async () => {
    const { code, out, err } = await against(() => ({ body: status("degraded") }), ["status", "--wait", "100ms"]);

    expect(code).toBe(6);
    expect(out).toContain("is degraded");
    expect(err).toContain("not ok in time");
  });

  it("is not waited for with a token that is refused", async () => {
    const { code, err } = await against(
      () => problem("UNAUTHENTICATED", "unauthenticated", 401, 1),
      ["status", "--wait", "30"],
    );

    expect(code).toBe(1);
    expect(err).toContain(`the token came from file ${context}`);
  });
});

describe("a new key", () => {
  const body = { token: { id: "abc", name: "ci" }, secret: "dv_abc_secret" };

  it("is shown apart, with a warning", async () => {
    const { out, err } = await against(() => ({ body }), ["tokens", "create", "ci"]);

    expect(out).toMatch(/\n\nsecret {2}dv_abc_secret\n$/);
    expect(err).toContain("[WARN]");
    expect(err).toContain("shown this once");
  });
});

describe("a request", () => {
  it("is told with its outcome under --verbose", async () => {
    const { err } = await against(() => ({ body: status("ok") }), ["status", "--verbose"]);

    expect(err).toMatch(/\[DEBUG\] \S+ GET http:\S+\/v1\/status: 200, \d+ characters, request id \S+, \d+ ms/);
  });

  it("that reaches nobody names commands that need nobody", async () => {
    const { code, err } = await run(["status", "--server", "http://127.0.0.1:2"]);

    expect(code).toBe(4);
    expect(err).toContain("`dvctl ping`");
  });
});

describe("debvisor-health-check without a cluster", () => {
  const check = (argv: readonly string[]) => run(argv, {}, healthCheckProgram());

  it("checks this machine by the node agent's own checks", async () => {
    const { code, out, err } = await check(["--role", "worker", "--only", "configuration", "--format", "json"]);

    expect([0, 6]).toContain(code);
    expect(err).toContain("checking this machine alone");
    const report = JSON.parse(out);
    expect(report).toMatchObject({ cluster: null, nodes: { census: { total: 1, ok: 1 } } });
    const checks = report.nodes.results[0].data.checks as { group: string }[];
    expect(new Set(checks.map(({ group }) => group))).toEqual(new Set(["configuration"]));
  });

  it.each([
    [["--local", "--node", "node-1"], 2, "give one of them"],
    [["--server", "http://127.0.0.1:2", "--role", "worker"], 2, "add --local"],
    [["--server", "http://127.0.0.1:2"], 4, "--local checks this machine"],
    [["--node", "node-1"], 4, "No context"],
  ])("%j ends with %i", async (argv, expected, words) => {
    const { code, err } = await check(argv);

    expect(code).toBe(expected);
    expect(err).toContain(words);
  });
});
