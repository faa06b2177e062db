// SPDX-License-Identifier: Apache-2.0
/** Whole runs of commands against a real HTTP server: formats, exit codes, confirmation, retries, log file. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { parse as parseYaml } from "yaml";
import { type CannedReply, problem, type SeenRequest, startCannedApi } from "../../../test/support/canned-api.ts";
import { dvctlProgram } from "./dvctl-program.ts";
import { healthCheckProgram } from "./health-check-program.ts";
import { runProgram } from "./program.ts";

const folder = mkdtempSync(join(tmpdir(), "dv-cli-"));
afterAll(() => rmSync(folder, { recursive: true }));

const TOKEN = "dv_test_abcdefghijklmnopqrstuvwx";
let files = 0;

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function run(servers: readonly string[], argv: readonly string[], program = dvctlProgram()): Promise<Run> {
  const context = join(folder, `context-${files++}.json`);
  writeFileSync(context, JSON.stringify({ version: 1, cluster: "c", servers, token: TOKEN }));
  let out = "";
  let err = "";
  const code = await runProgram(program, argv, {
    env: { HOME: folder, DV_CONTEXT: context },
    cwd: folder,
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    terminal: undefined,
  });
  return { code, out, err };
}

async function withApi<T>(
  answer: (request: SeenRequest, number: number) => CannedReply,
  use: (url: string, requests: readonly SeenRequest[]) => Promise<T>,
): Promise<T> {
  await using api = await startCannedApi(answer);
  return await use(api.url, api.requests);
}

const node = {
  id: "abcdefghij234567",
  name: "node-1",
  state: "alive",
  roles: ["server", "worker"],
  version: "0.1.0",
  addresses: ["10.0.0.1"],
  lastSeen: null,
  metrics: { load1: 0.5, memoryPercent: 12.34 },
};
const list = { items: [node], nextCursor: null };
const REFUSED = "http://127.0.0.1:2";

describe("a command that reads", () => {
  it("prints a table with the contract's columns", async () => {
    const { code, out } = await withApi(
      () => ({ body: list }),
      (url) => run([url], ["nodes", "list", "--no-color"]),
    );

    expect(code).toBe(0);
    expect(out.split("\n").map((line) => line.split(/ {2,}/)[1])).toEqual(["NAME", "node-1", undefined]);
    expect(out).toContain("12.3 %");
  });

  it("passes JSON on byte for byte", async () => {
    const text = '{"items": [],   "nextCursor":null,"new":1.0}';

    const { out, err } = await withApi(
      () => ({ text }),
      (url) => run([url], ["--json", "nodes", "list", "--quiet"]),
    );

    expect(out).toBe(`${text}\n`);
    expect(err).toBe("");
  });

  it("writes YAML that reads back as the same", async () => {
    const { out } = await withApi(
      () => ({ body: list }),
      (url) => run([url], ["nodes", "list", "--format=yaml"]),
    );

    expect(parseYaml(out)).toEqual(list);
  });

  it("sends what was typed, with the token, and no idempotency key", async () => {
    await withApi(
      () => ({ body: list }),
      async (url, requests) => {
        await run([url], ["nodes", "list", "--filter", "state!=alive", "--limit", "3"]);

        expect(requests[0]?.url.pathname).toBe("/v1/nodes");
        expect(Object.fromEntries(requests[0]?.url.searchParams ?? [])).toEqual({ filter: "state!=alive", limit: "3" });
        expect(requests[0]?.headers).toMatchObject({ authorization: `Bearer ${TOKEN}` });
        expect(requests[0]?.headers["idempotency-key"]).toBeUndefined();
      },
    );
  });

  it("hides control sequences that came from the network", async () => {
    const body = { items: [{ ...node, name: "evil\u001b]0;x\u0007" }], nextCursor: null };

    const { out } = await withApi(
      () => ({ body }),
      (url) => run([url], ["nodes", "list"]),
    );

    expect(out).not.toContain("\u001b");
    expect(out).not.toContain("\u0007");
  });
});

describe("a failure", () => {
  it.each([
    ["NODE_NOT_FOUND", "not-found", 404, 3],
    ["UNAUTHENTICATED", "unauthenticated", 401, 1],
    ["INVALID_ARGUMENT", "invalid-argument", 400, 2],
    ["NODE_ALIVE", "precondition-failed", 412, 6],
    ["CONFLICT", "conflict", 409, 5],
    ["A_CODE_OF_A_NEWER_GATEWAY", "conflict", 409, 5],
    ["TIMEOUT", "timeout", 504, 4],
  ])("with %s ends with the exit code of its kind", async (code, kind, status, exitCode) => {
    const run1 = await withApi(
      () => problem(code, kind, status, exitCode),
      (url) => run([url], ["nodes", "show", "node-9"]),
    );

    expect(run1.code).toBe(exitCode);
    expect(run1.out).toBe("");
    expect(run1.err).toMatch(/^\[ERROR\] \S+Z .*\(/);
    expect(run1.err).toContain(`(${code})`);
    expect(run1.err).not.toContain("    at ");
  });

  it("is 4 when no server can be reached", async () => {
    const { code, err } = await run([REFUSED, REFUSED], ["nodes", "list"]);

    expect(code).toBe(4);
    expect(err).toContain("connection refused");
  });

  it("is 124 only when the command's own time ran out", async () => {
    const { code, out } = await withApi(
      () => "hang",
      (url) => run([url], ["nodes", "list", "--timeout", "150ms"]),
    );

    expect(code).toBe(124);
    expect(out).toBe("");
  });

  it("is 2 for a bad command line, before any request", async () => {
    await withApi(
      () => ({ body: list }),
      async (url, requests) => {
        expect((await run([url], ["nodes", "list", "--limit", "x"])).code).toBe(2);
        expect((await run([url], ["nodes", "list", "--format", "xml"])).code).toBe(2);
        expect((await run([url], ["nodes", "list", "--json", "--format", "yaml"])).code).toBe(2);
        expect((await run([url], ["nodes"])).code).toBe(2);
        expect((await run([url], ["nodes", "list", "--log-file", "/proc/nope/x.log"])).code).toBe(2);
        expect(requests).toEqual([]);
      },
    );
  });
});

describe("servers and retries", () => {
  it("tries the next server when one does not connect", async () => {
    const { code } = await withApi(
      () => ({ body: list }),
      (url) => run([REFUSED, url], ["nodes", "list"]),
    );

    expect(code).toBe(0);
  });

  it("repeats a change with the same key when the connection broke", async () => {
    await withApi(
      (_, number) => (number < 3 ? "drop" : { body: node }),
      async (url, requests) => {
        const { code } = await run([url], ["nodes", "register", node.id, "node-1", "--rack", "r1"]);

        expect(code).toBe(0);
        expect(requests).toHaveLength(3);
        expect(new Set(requests.map(({ headers }) => headers["idempotency-key"])).size).toBe(1);
        expect(requests[2]).toMatchObject({ method: "POST", body: { id: node.id, name: "node-1", rack: "r1" } });
        expect(requests[2]?.url.pathname).toBe("/v1/nodes");
      },
    );
  });

  it("does not repeat what was refused", async () => {
    await withApi(
      () => problem("CONFLICT", "conflict", 409, 5),
      async (url, requests) => {
        await run([url, url], ["nodes", "enable", "node-1"]);

        expect(requests).toHaveLength(1);
      },
    );
  });
});

describe("confirmation", () => {
  it("refuses to destroy without a terminal and without --confirm, before any request", async () => {
    await withApi(
      () => ({ body: {} }),
      async (url, requests) => {
        const { code } = await run([url], ["tokens", "revoke", "abc"]);

        expect(code).toBe(2);
        expect(requests).toEqual([]);
      },
    );
  });

  it("destroys with --confirm, the reason in the query", async () => {
    await withApi(
      () => ({ body: { id: node.id, deleted: true } }),
      async (url, requests) => {
        const { code } = await run([url], ["nodes", "delete", "node-3", "--reason", "scrapped it", "--confirm"]);

        expect(code).toBe(0);
        expect(requests[0]).toMatchObject({ method: "DELETE", body: undefined });
        expect(requests[0]?.url.searchParams.get("reason")).toBe("scrapped it");
      },
    );
  });
});

describe("the log file", () => {
  it("holds messages and result, with secrets masked, for owner and group", async () => {
    const file = join(folder, "logs/deep/cli.log");

    await run([REFUSED], ["token", "show", "--log-file", file]);
    await run([REFUSED], ["nodes", "list", "--log-file", file]);

    const text = readFileSync(file, "utf8");
    expect(statSync(file).mode & 0o777).toBe(0o640);
    expect(text).not.toContain(TOKEN);
    expect(text).toMatch(/^\S+Z \[OUT\] \[masked\]$/m);
    expect(text).toMatch(/^\S+Z \[ERROR\] /m);
  });
});

describe("help, version, catalogue and settings without network", () => {
  it("prints nothing but the token", async () => {
    expect(await run([REFUSED], ["token", "show"])).toEqual({ code: 0, out: `${TOKEN}\n`, err: "" });
  });

  it.each([
    [["--help"], "dvctl: looks at"],
    [["--version"], "dvctl 0.1.0"],
    [["nodes", "--help"], "nodes disable"],
    [["nodes", "list", "--help"], "REQUIRED PRIVILEGE"],
    [["help", "nodes", "list"], "REQUIRED PRIVILEGE"],
    [["man", "nodes", "list"], ".TH"],
    [["errors", "node_alive"], "NODE_ALIVE"],
    [["completion", "bash"], "complete -F"],
    [["config", "show", "--origin"], "environment DV_CONTEXT"],
  ])("%j", async (argv, expected) => {
    const { code, out } = await run([REFUSED], argv);

    expect(code).toBe(0);
    expect(out).toContain(expected);
  });
});

describe("a question to many nodes", () => {
  const results = [
    {
      node: node.id,
      name: "node-1",
      status: "ok",
      ms: 3,
      data: {
        verdict: "degraded",
        score: 80,
        checkedAt: "2026-01-01T00:00:00.000Z",
        ms: 1,
        counts: { passed: 1, warned: 1, failed: 0, skipped: 0 },
        checks: [
          {
            id: "services.x",
            group: "services",
            status: "warned",
            message: "slow",
            hint: "restart it",
            critical: false,
          },
        ],
      },
    },
    {
      node: "abcdefghij234566",
      name: "node-2",
      status: "unreachable",
      ms: 1,
      error: { code: "UNAVAILABLE", kind: "unavailable", message: "away" },
    },
  ];
  const census = { total: 2, digest: "d", ok: 1, failed: 0, refused: 0, unreachable: 1, timedOut: 0, skipped: 0 };

  it("shows every node, what was found, and the census on standard error", async () => {
    const { code, out, err } = await withApi(
      () => ({ body: { census, results } }),
      (url) => run([url], ["health", "run", "--nodes", "all"]),
    );

    expect(code).toBe(5);
    expect(out).toContain("away");
    expect(out).toContain("restart it");
    expect(err).toContain("2 nodes: 1 ok, 1 unreachable");
  });

  it("makes one verdict of it in debvisor-health-check", async () => {
    const status = {
      cluster: "c",
      state: "ok",
      version: "0",
      time: "2026-01-01T00:00:00.000Z",
      nodes: { total: 2, alive: 2, suspect: 0, lost: 0, disabled: 0 },
      components: [],
    };
    const answer = (body: unknown) => (request: SeenRequest) => ({
      body: request.url.pathname === "/v1/status" ? status : body,
    });
    const fine = { census: { ...census, total: 1, unreachable: 0 }, results: results.slice(0, 1) };

    const whole = await withApi(answer({ census, results }), (url) =>
      run([url], ["--format", "json"], healthCheckProgram()),
    );
    const degraded = await withApi(answer(fine), (url) => run([url], [], healthCheckProgram()));
    const strict = await withApi(answer(fine), (url) => run([url], ["--strict"], healthCheckProgram()));
    const away = await run([REFUSED], [], healthCheckProgram());

    expect(whole.code).toBe(6);
    expect(JSON.parse(whole.out)).toMatchObject({ verdict: "unhealthy", score: 40, nodes: { census } });
    expect(degraded.code).toBe(0);
    expect(degraded.err).toContain("[WARN]");
    expect(strict.code).toBe(6);
    expect(away.code).toBe(4);
  });
});
