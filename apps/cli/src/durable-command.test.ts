// SPDX-License-Identifier: Apache-2.0
/** Commands of durable operations against a real HTTP server: requests, consent, output and every exit code. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { problem, type SeenRequest } from "../../../test/support/canned-api.ts";
import {
  DIGEST,
  ended,
  ID,
  IDS,
  operation,
  planned,
  durableServer as server,
  TIME,
  target,
} from "../../../test/support/operation-samples.ts";
import { against, folder, modes } from "../../../test/support/typed-command.ts";
import { actingUser } from "./acting-user.ts";

afterAll(() => rmSync(folder, { recursive: true }));

const RESTART = ["nodes", "service", "restart", "node-1", "node-agent"];
writeFileSync(join(folder, "motd"), "hello");
const PUT = ["nodes", "file", "put", "--from-file", "motd", "--to", "/etc/motd", "--nodes"];

const check = (id: string, status: "passed" | "warned" | "failed", name = "node-1") => ({
  id,
  target: name,
  status,
  message: `${id} is ${status}`,
  hint: status === "passed" ? null : "look at it",
});

describe("--check", () => {
  const withChecks = (...checks: readonly ReturnType<typeof check>[]) => ({
    check: { body: planned(1, { checks: [...checks] }, { state: "checked", mode: "check" }) } as const,
  });

  it("prints every check and the plan, changes nothing and ends with 0", async () => {
    const { code, out, requests } = await against(server(withChecks(check("target.answers", "passed"))), [
      ...RESTART,
      "--check",
    ]);

    expect(code).toBe(0);
    expect(out).toMatch(/passed +node-1 +target\.answers/);
    expect(out).toContain("1. node-1  write /etc/motd");
    expect(modes(requests)).toEqual(["check"]);
  });

  it.each([
    ["a failing prerequisite", [check("unit.managed", "failed"), check("disk.free", "failed")], 6],
    ["a target that does not answer", [check("target.answers", "failed")], 4],
    ["a warning only", [check("disk.free", "warned")], 0],
  ])("with %s", async (_, checks, expected) => {
    const { code, out } = await against(server(withChecks(...checks)), [...RESTART, "--check"]);

    expect(code).toBe(expected);
    for (const { id } of checks) expect(out).toContain(id);
  });

  it.each([
    ["NODE_NOT_FOUND", "not-found", 404, 3],
    ["UNAUTHENTICATED", "unauthenticated", 401, 1],
  ])("refused with %s ends with the exit code of its kind", async (name, kind, status, expected) => {
    const { code } = await against(server({ check: problem(name, kind, status, expected) }), [...RESTART, "--check"]);

    expect(code).toBe(expected);
  });

  it("refused with CHECK_FAILED lists all failures; 4 when they are all about reaching the target", async () => {
    const refusal = (...checks: readonly ReturnType<typeof check>[]) => {
      const { status, body } = problem("CHECK_FAILED", "precondition-failed", 412, 6);
      return { check: { status, body: { ...body, details: { checks } } } };
    };

    const failed = await against(server(refusal(check("a.b", "failed"), check("c.d", "failed"))), [
      ...RESTART,
      "--check",
    ]);
    const away = await against(server(refusal(check("target.answers", "failed"))), [...RESTART, "--check"]);

    expect(failed.code).toBe(6);
    expect(failed.out).toMatch(/failed +node-1 +a\.b[\s\S]*failed +node-1 +c\.d/);
    expect(failed.err).toContain("2 of 2 checks failed; nothing changed");
    expect(away.code).toBe(4);
  });
});

describe("--dry-run", () => {
  it("prints the ordered plan with effects, undo and digest and ends with 0", async () => {
    const { code, out, requests } = await against(server({ plan: { body: planned(2) } }), [
      ...PUT,
      "all",
      "--dry-run",
      "--confirm",
    ]);

    expect(code).toBe(0);
    expect(out).toContain("targets: 2: node-1, node-2");
    expect(out).toContain("node-1  file /etc/motd: 12 bytes → 5 bytes");
    expect(out).toMatch(/1\. node-1 .*\n +2\. node-2/);
    expect(out).toContain(`digest: ${DIGEST}`);
    expect(modes(requests)).toEqual(["plan"]);
  });

  it("shows the difference line by line with --diff", async () => {
    const effects = [{ target: "node-1", what: "file /etc/motd", before: "x", after: "y", diff: "-old\n+new" }];
    const { out, requests } = await against(server({ plan: { body: planned(1, { effects }) } }), [
      ...PUT,
      "node-1",
      "--dry-run",
      "--diff",
    ]);

    expect(out).toMatch(/-old\n +\+new/);
    expect(requests[0]?.body).toMatchObject({ diff: true });
  });

  it("prints the reply itself with --format json", async () => {
    const { out } = await against(server({}), [...RESTART, "--dry-run", "--format", "json"]);

    expect(JSON.parse(out)).toEqual(planned(1));
  });

  it("excludes --check", async () => {
    const { code, requests } = await against(server({}), [...RESTART, "--dry-run", "--check"]);

    expect({ code, requests }).toEqual({ code: 2, requests: [] });
  });
});

describe("consent", () => {
  it("of several targets: a summary, nothing changed, exit 0", async () => {
    const { code, out, err, requests } = await against(server({ plan: { body: planned(3) } }), [
      ...PUT,
      "all",
      "--mode",
      "0600",
    ]);

    expect(code).toBe(0);
    expect(out).toContain("targets: 3: node-1, node-2, node-3");
    expect(out).toContain("content: 5 bytes, SHA-256 2cf24dba");
    expect(out).toContain("mode: 0600");
    expect(err).toContain("nothing changed, add --confirm");
    expect(modes(requests)).toEqual(["plan"]);
  });

  it("of more than five names the first five and counts the rest", async () => {
    const targets = Array.from({ length: 8 }, (_, i) => ({
      id: IDS[0] ?? "",
      name: `node-${i + 1}`,
      zone: null,
      state: "change" as const,
    }));
    const { out } = await against(server({ plan: { body: planned(1, { targets }) } }), [...PUT, "all"]);

    expect(out).toContain("targets: 8: node-1, node-2, node-3, node-4, node-5 and 3 more");
  });

  it("to destroy is refused without a terminal, after the plan was recorded and before any effect", async () => {
    const { code, err, requests } = await against(server({}), RESTART);

    expect(code).toBe(2);
    expect(err).toContain("needs --confirm");
    expect(modes(requests)).toEqual(["plan"]);
  });

  it.each([
    ["yes\n", 0, ["plan", "apply"]],
    ["no\n", 1, ["plan"]],
    ["\n", 1, ["plan"]],
  ])("to destroy is asked for on a terminal: %j", async (typed, expected, sent) => {
    const { code, err, requests } = await against(server({}), RESTART, { typed });

    expect(code).toBe(expected);
    expect(err).toContain("Plan: dvctl nodes service restart");
    if (expected === 1) expect(err).toContain("nothing changed");
    expect(modes(requests)).toEqual(sent);
  });

  it("of one target that is changed runs as typed; of a kind that asks it is asked for on a terminal", async () => {
    const file = await against(server({}), [...PUT, "node-1"], { typed: "no\n" });
    const mode = await against(server({}), ["maintenance", "enable", "node-1"], { typed: "no\n" });
    const script = await against(server({}), ["maintenance", "enable", "node-1"]);

    expect([file.code, modes(file.requests)]).toEqual([0, ["plan", "apply"]]);
    expect([mode.code, modes(mode.requests)]).toEqual([1, ["plan"]]);
    expect([script.code, modes(script.requests)]).toEqual([0, ["plan", "apply"]]);
  });

  it("is not asked for when a prerequisite fails: all are named, exit 6", async () => {
    const checks = [check("unit.managed", "failed"), check("disk.free", "failed")];
    const { code, err, requests } = await against(server({ plan: { body: planned(1, { checks }) } }), [
      ...RESTART,
      "--confirm",
    ]);

    expect(code).toBe(6);
    expect(err).toMatch(/unit\.managed[\s\S]*disk\.free/);
    expect(modes(requests)).toEqual(["plan"]);
  });
});

describe("applying", () => {
  it("sends the plan's digest under a key of its own and follows to the end", async () => {
    const { code, out, err, requests } = await against(
      server({ plan: { body: planned(2) }, wait: { body: ended(2) } }),
      [...PUT, "all", "--confirm", "--reason", "new text"],
    );

    const [first, second] = requests;
    expect(code).toBe(0);
    expect(second?.body).toEqual({
      to: "/etc/motd",
      nodes: "all",
      reason: "new text",
      contentBase64: "aGVsbG8=",
      plan: DIGEST,
    });
    expect(first?.headers["idempotency-key"]).not.toBe(second?.headers["idempotency-key"]);
    expect(requests[2]?.url.pathname).toBe(`/v1/operations/${ID}/wait`);
    expect(requests[2]?.url.searchParams.get("after")).toBe("1");
    expect(out).toContain(`${ID}  host.put-file on node-1, node-2  succeeded in 1.5s`);
    expect(out).toMatch(/NODE +STATUS\nnode-1 +ok\nnode-2 +ok/);
    expect(err).toContain(`undo: dvctl operations rollback ${ID}`);
  });

  it("says who typed it", async () => {
    const { requests } = await against(server({}), [...PUT, "node-1"], { env: { SUDO_USER: "zoë" } });

    expect(new Set(requests.map(({ headers }) => headers["dv-user"]))).toEqual(
      new Set([actingUser({ SUDO_USER: "zoë" })]),
    );
    expect(actingUser({ SUDO_USER: "zoë" }, "root")).toBe("root (sudo by zo?)");
    expect(actingUser({}, "alice")).toBe("alice");
    expect(actingUser({ SUDO_USER: "alice" }, "alice")).toBe("alice");
  });

  it("of what is as asked already is submitted for the record without a question: no change", async () => {
    const idle = { steps: [], effects: [] };
    const { code, out, requests } = await against(
      server({ plan: { body: planned(3, idle) }, apply: { status: 202, body: ended(3, { changed: false }) } }),
      [...PUT, "all"],
    );

    expect(code).toBe(0);
    expect(out).toContain("succeeded in 1.5s: no change");
    expect(modes(requests)).toEqual(["plan", "apply"]);
  });

  it("prints the operation itself with --format json", async () => {
    const { out } = await against(server({}), [...PUT, "node-1", "--format", "json"]);

    expect(JSON.parse(out)).toEqual(ended(1));
  });

  it("prints only the id with --detach", async () => {
    const { code, out, requests } = await against(server({}), [...PUT, "node-1", "--detach"]);

    expect({ code, out }).toEqual({ code: 0, out: `${ID}\n` });
    expect(requests).toHaveLength(2);
  });

  it.each([
    ["LOCK_HELD", "busy", 423, 5],
    ["IN_MAINTENANCE", "busy", 423, 5],
    ["BLAST_RADIUS_EXCEEDED", "precondition-failed", 412, 6],
    ["PERMISSION_DENIED", "permission-denied", 403, 1],
  ])("refused with %s ends with the exit code of its kind, once", async (name, kind, status, expected) => {
    const { code, err, requests } = await against(server({ apply: problem(name, kind, status, expected) }), [
      ...PUT,
      "node-1",
    ]);

    expect(code).toBe(expected);
    expect(err).toContain(`(${name})`);
    expect(modes(requests)).toEqual(["plan", "apply"]);
  });

  it("plans once more when the world moved between its two requests and nobody had said yes to the plan", async () => {
    const refused = problem("PLAN_STALE", "conflict", 409, 5);
    const { code, err, requests } = await against(server({ apply: refused }), [...PUT, "node-1"]);

    expect(code).toBe(5);
    expect(err).toContain("(PLAN_STALE)");
    expect(modes(requests)).toEqual(["plan", "apply", "plan", "apply"]);
  });

  const broke = { code: "STEP_FAILED", kind: "operation-failed" as const, message: "write failed" };
  const away = { code: "UNAVAILABLE", kind: "unavailable" as const, message: "gone" };
  it.each([
    ["succeeded", ended(1), 0],
    ["rolled back", ended(1, { state: "rolled-back", error: broke, targets: [target(1, "failed", broke)] }), 5],
    [
      "failed on some",
      ended(2, { state: "failed", error: broke, targets: [target(1, "ok"), target(2, "unreachable", away)] }),
      5,
    ],
    [
      "no target answered",
      ended(2, { state: "failed", error: away, targets: [target(1, "unreachable"), target(2, "unreachable")] }),
      4,
    ],
    ["cancelled", ended(1, { state: "cancelled" }), 5],
    ["refused", ended(1, { state: "refused", error: { code: "LOCK_HELD", kind: "busy", message: "held" } }), 5],
    [
      "refused by a check",
      ended(1, { state: "refused", error: { code: "CHECK_FAILED", kind: "precondition-failed", message: "no" } }),
      6,
    ],
  ])("ends by how the operation ended: %s", async (_, end, expected) => {
    const { code, err } = await against(server({ wait: { body: end } }), [...RESTART, "--confirm"]);

    expect(code).toBe(expected);
    if (end.error !== null) expect(err).toContain(`${end.error.message} (${end.error.code})`);
  });

  it("of several targets names what failed where", async () => {
    const end = ended(2, { state: "failed", error: broke, targets: [target(1, "ok"), target(2, "failed", broke)] });
    const { out } = await against(server({ plan: { body: planned(2) }, wait: { body: end } }), [
      ...PUT,
      "all",
      "--confirm",
    ]);

    expect(out).toMatch(/node-2 +failed +write failed/);
  });

  it("that is stuck ends with 5 and the command that helps", async () => {
    const repair = `dvctl operations continue ${ID}`;
    const { code, err } = await against(
      server({ wait: { body: ended(1, { state: "stuck", error: broke, repair }) } }),
      [...PUT, "node-1"],
    );

    expect(code).toBe(5);
    expect(err).toContain("is stuck and keeps its locks");
    expect(err).toContain(`repair: ${repair}`);
  });

  it("shows steps with their times under --verbose", async () => {
    const steps = [
      {
        id: "s1",
        title: "write it",
        target: "node-1",
        state: "done" as const,
        attempts: 2,
        startedAt: TIME,
        ms: 1234,
        error: null,
      },
    ];
    const { out, err } = await against(server({ wait: { body: ended(1, { steps }) } }), [
      ...PUT,
      "node-1",
      "--verbose",
    ]);

    expect(out).toMatch(/write it +node-1 +done +2 +1\.2s/);
    expect(err).toMatch(/\[DEBUG\] .* running .*50 %/);
  });

  it("goes on following when a server is gone for a moment, with one warning", async () => {
    let polls = 0;
    const { code, err } = await against(
      (request) => {
        if (!request.url.pathname.endsWith("/wait")) return server({})(request);
        return ++polls < 3 ? "drop" : { body: ended(1) };
      },
      [...PUT, "node-1"],
    );

    expect(code).toBe(0);
    expect(err.match(/asking again/g)).toHaveLength(1);
  });

  it("draws a bar on a terminal, unless --no-progress", async () => {
    const waiting = (request: SeenRequest, number: number) =>
      request.url.pathname.endsWith("/wait") && number < 4
        ? {
            body: operation(1, {
              revision: 2,
              steps: [
                {
                  id: "s",
                  title: "write it",
                  target: "node-1",
                  state: "running",
                  attempts: 1,
                  startedAt: TIME,
                  ms: null,
                  error: null,
                },
              ],
            }),
          }
        : server({})(request);

    const bar = await against(waiting, [...PUT, "node-1"], { typed: "" });
    const none = await against(waiting, [...PUT, "node-1", "--no-progress"], { typed: "" });

    expect(bar.err).toContain("[##########----------]   50 %");
    expect(bar.err).toContain("1/2  12/min  ETA 5s  node-1: write it");
    expect(none.err).not.toContain("##########");
  });

  it("that was interrupted goes on, and it says how to stop it", async () => {
    const { code, err } = await against(
      (request) => {
        if (!request.url.pathname.endsWith("/wait")) return server({})(request);
        process.emit("SIGINT");
        return "hang";
      },
      [...PUT, "node-1"],
    );

    expect(code).toBe(130);
    expect(err).toContain(`${ID} goes on`);
    expect(err).toContain(`dvctl operations cancel ${ID}`);
  });
});

describe("the content of a file", () => {
  it("that is too large is refused before any request", async () => {
    writeFileSync(join(folder, "large"), Buffer.alloc(256 * 1024 + 1));
    const argv = PUT.map((word) => (word === "motd" ? "large" : word));
    const { code, err, requests } = await against(server({}), [...argv, "node-1"]);

    expect({ code, requests }).toEqual({ code: 6, requests: [] });
    expect(err).toContain("FILE_TOO_LARGE");
  });

  it("that cannot be read is named", async () => {
    const argv = PUT.map((word) => (word === "motd" ? "nothing-there" : word));
    const { code, err } = await against(server({}), [...argv, "node-1"]);

    expect(code).toBe(2);
    expect(err).toContain("nothing-there cannot be read (ENOENT)");
  });
});

describe("--wait", () => {
  it.each([
    [["--wait"], "1h"],
    [["--wait=10m"], "10m"],
  ])("%j", async (flags, expected) => {
    const { requests } = await against(server({}), ["nodes", "file", "put", ...flags, ...PUT.slice(3), "node-1"]);

    expect(requests[1]?.body).toMatchObject({ wait: expected });
  });

  it("says what is waited for", async () => {
    const { err } = await against(
      server({ apply: { status: 202, body: operation(1, { state: "queued", waitsFor: "lock held by op-x" }) } }),
      [...PUT, "node-1", "--wait"],
    );

    expect(err).toContain(`${ID} waits for lock held by op-x`);
  });
});
