// SPDX-License-Identifier: Apache-2.0
/** `dvctl operations`, `--status` and `--rollback`, and `debvisor-maintenance`, against a real HTTP server. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Operation } from "@debvisor/proto-events/durable";
import { afterAll, describe, expect, it } from "vitest";
import { type CannedReply, problem, type SeenRequest } from "../../../test/support/canned-api.ts";
import { ended, ID, IDS, operation, durableServer as server, TIME } from "../../../test/support/operation-samples.ts";
import { against, folder } from "../../../test/support/typed-command.ts";
import { actingUser } from "./acting-user.ts";
import { maintenanceProgram } from "./maintenance-program.ts";

afterAll(() => rmSync(folder, { recursive: true }));

describe("--status and --rollback", () => {
  const user = actingUser({});
  const summary = (id: string, fields: object = {}) => ({
    ...{ id, type: "host.put-file", state: "succeeded", changed: true, error: null, actor: "abc", user, reason: null },
    ...{ waitsFor: null, undoable: true, createdAt: TIME, updatedAt: TIME, endedAt: TIME, targets: ["node-1"] },
    progress: operation(1).progress,
    ...fields,
  });
  const OTHER = "op-aaaaaaaaaaaaa";
  const list = [summary(OTHER, { user: "somebody" }), summary(OTHER, { actor: "xyz" }), summary(ID)];
  const answers =
    (end: Operation) =>
    ({ method, url }: SeenRequest): CannedReply => {
      if (url.pathname === "/v1/operations") return { body: { items: list, nextCursor: null } };
      if (url.pathname.endsWith("/wait")) return { body: end };
      if (method === "POST") return { body: ended(1, { state: "undoing", revision: 10 }) };
      return { body: ended(1) };
    };

  it("shows the latest one of this user, without the arguments that a new one needs", async () => {
    const { code, out, requests } = await against(answers(ended(1)), ["nodes", "file", "put", "--status"]);

    expect(code).toBe(0);
    expect(Object.fromEntries(requests[0]?.url.searchParams ?? [])).toMatchObject({
      filter: "type=host.put-file",
      sort: "-createdAt",
    });
    expect(requests[1]?.url.pathname).toBe(`/v1/operations/${ID}`);
    expect(out).toContain("undoable: yes");
  });

  it("undoes the latest one that can be, with --confirm", async () => {
    const end = ended(1, { state: "rolled-back", undoable: false, revision: 12 });
    const { code, out, requests } = await against(answers(end), ["nodes", "file", "put", "--rollback", "--confirm"]);

    expect(code).toBe(0);
    expect(requests[0]?.url.searchParams.get("filter")).toBe("type=host.put-file,undoable=true");
    expect(requests[2]).toMatchObject({ method: "POST" });
    expect(requests[2]?.url.pathname).toBe(`/v1/operations/${ID}/rollback`);
    expect(out).toContain("rolled-back");
  });

  it("shows it and asks first; without a terminal it refuses", async () => {
    const no = await against(answers(ended(1)), ["nodes", "file", "put", `--rollback=${ID}`], { typed: "no\n" });
    const script = await against(answers(ended(1)), ["nodes", "file", "put", "--rollback"]);
    const dry = await against(answers(ended(1)), ["nodes", "file", "put", "--rollback", "--dry-run"]);

    expect([no.code, script.code, dry.code]).toEqual([1, 2, 0]);
    expect(no.err).toContain("file /etc/motd: 5 bytes → 12 bytes");
    expect([...no.requests, ...script.requests, ...dry.requests].map(({ method }) => method)).not.toContain("POST");
  });

  it("of another kind, or without any, is 3; of one that cannot be undone 5", async () => {
    const kind = await against(answers(ended(1)), ["nodes", "file", "remove", `--rollback=${ID}`]);
    const none = await against(
      () => ({ body: { items: list.slice(0, 2), nextCursor: null } }),
      ["nodes", "file", "put", "--rollback"],
    );
    const fixed = await against(
      () => ({ body: ended(1, { undoable: false }) }),
      ["nodes", "file", "put", `--rollback=${ID}`],
    );

    expect([kind.code, none.code, fixed.code]).toEqual([3, 3, 5]);
    expect(fixed.err).toContain("OPERATION_STATE");
  });
});

describe("dvctl operations", () => {
  const control =
    (noted: Operation, end: Operation) =>
    ({ method, url }: SeenRequest): CannedReply => {
      if (url.pathname.endsWith("/wait")) return { body: end };
      return { body: method === "POST" ? noted : ended(1) };
    };

  it.each([
    ["cancel", operation(1), ended(1, { state: "cancelled" }), 0],
    ["cancel", operation(1), ended(1), 5],
    ["pause", operation(1), operation(1, { state: "paused", revision: 3 }), 0],
    ["pause", operation(1), ended(1), 5],
    ["continue", operation(1, { state: "running" }), ended(1), 0],
    ["continue", operation(1, { state: "undoing" }), ended(1, { state: "rolled-back" }), 0],
    ["continue", operation(1, { state: "stuck" }), ended(1, { state: "rolled-back" }), 0],
    ["confirm", operation(1), ended(1), 0],
    ["confirm", operation(1), ended(1, { state: "rolled-back" }), 5],
    ["retry", operation(1), ended(1), 0],
    ["rollback", ended(1), ended(1, { state: "rolled-back" }), 0],
    ["rollback", ended(1, { state: "undoing" }), ended(1, { state: "stuck" }), 5],
  ] as const)("%s follows until it took effect", async (verb, noted, end, expected) => {
    const { code, requests } = await against(control(noted, end), [
      "operations",
      verb,
      ID,
      ...(verb === "rollback" ? ["--confirm"] : []),
    ]);

    expect(code).toBe(expected);
    expect(requests.find(({ method }) => method === "POST")?.url.pathname).toBe(`/v1/operations/${ID}/${verb}`);
  });

  it("does not take the state from before for the end", async () => {
    const states = [
      ended(1, { revision: 10 }),
      ended(1, { state: "undoing", revision: 11 }),
      ended(1, { state: "rolled-back", revision: 12 }),
    ];
    let polls = 0;
    const { code } = await against(
      ({ method, url }) => ({
        body: url.pathname.endsWith("/wait") ? states[polls++] : ended(1, { revision: method === "POST" ? 9 : 8 }),
      }),
      ["operations", "rollback", ID, "--confirm"],
    );

    expect({ code, polls }).toEqual({ code: 0, polls: 3 });
  });

  it("shows a record with steps, effects, and how it is undone", async () => {
    const steps = [
      {
        id: "s1",
        title: "write it",
        target: null,
        state: "done" as const,
        attempts: 1,
        startedAt: TIME,
        ms: 5,
        error: null,
      },
    ];
    const { out } = await against(() => ({ body: ended(2, { steps, reason: "why not" }) }), ["operations", "show", ID]);

    expect(out).toMatch(/write it +cluster +done/);
    expect(out).toContain("reason: why not");
    expect(out).toContain("undo: The old content is restored.");
  });

  it("waits for one that somebody else began; an id that nobody knows is 3", async () => {
    const fine = await against(control(ended(1), ended(1)), ["operations", "wait", ID]);
    const none = await against(() => problem("OPERATION_NOT_FOUND", "not-found", 404, 3), ["operations", "wait", ID]);
    const slow = await against(
      ({ url }) => (url.pathname.endsWith("/wait") ? "hang" : { body: operation(1) }),
      ["operations", "wait", ID, "--timeout", "200ms"],
    );

    expect([fine.code, none.code, slow.code]).toEqual([0, 3, 124]);
    expect(slow.err).toContain(`${ID} goes on`);
  });
});

describe("debvisor-maintenance", () => {
  const program = maintenanceProgram();

  it("means this node unless told otherwise", async () => {
    writeFileSync(
      join(folder, "node.json"),
      JSON.stringify({ version: 1, id: IDS[0], name: "node-1", roles: ["server"], incarnation: 1, root: "/" }),
    );
    const here = await against(server({}), ["enable", "--reason", "disk"], { program, env: { DV_NODE_DIR: folder } });
    const other = await against(server({}), ["enable", "--node", "node-2"], { program });
    const all = await against(server({}), ["disable", "--cluster"], { program });

    expect([here.code, other.code, all.code]).toEqual([0, 0, 0]);
    expect(here.requests[0]?.body).toEqual({ node: IDS[0], reason: "disk" });
    expect(other.requests[0]?.body).toEqual({ node: "node-2" });
    expect(all.requests[0]?.body).toEqual({ cluster: true });
  });

  it("on a machine that is no node wants to know which", async () => {
    const { code, err } = await against(server({}), ["enable"], {
      program,
      env: { DV_NODE_DIR: join(folder, "nowhere") },
    });

    expect(code).toBe(2);
    expect(err).toContain("give --node NAME or --cluster");
  });

  it("is refused with 5 and the holder while somebody else holds it", async () => {
    const { code, err } = await against(
      server({ plan: problem("IN_MAINTENANCE", "busy", 423, 5) }),
      ["enable", "--node", "node-2"],
      { program },
    );

    expect(code).toBe(5);
    expect(err).toContain("IN_MAINTENANCE");
  });

  it("shows what is in maintenance, and with an id an operation", async () => {
    const answer = ({ url }: SeenRequest): CannedReply =>
      url.pathname === "/v1/maintenance" || url.pathname === "/v1/operations"
        ? { body: { items: [], nextCursor: null } }
        : { body: ended(1) };
    const all = await against(answer, ["status"], { program });
    const one = await against(answer, ["status", ID], { program });

    expect([all.code, one.code]).toEqual([0, 0]);
    expect(all.out).toContain("nothing is in maintenance");
    expect(one.out).toContain(ID);
  });
});
