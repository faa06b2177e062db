// SPDX-License-Identifier: Apache-2.0
/** `dvctl audit follow|export|verify` against a real HTTP server with a trail that a real authority signed. */
import { rmSync } from "node:fs";
import { sampleTrail } from "@debvisor/shared/audit/sample-trail";
import { isSealLine } from "@debvisor/shared/audit/trail-file";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type CannedReply, problem, type SeenRequest } from "../../../test/support/canned-api.ts";
import { against, folder } from "../../../test/support/typed-command.ts";

let lines: readonly string[];

beforeAll(async () => {
  ({ lines } = await sampleTrail({ records: 2_400, sealEvery: 500 }));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** The trail in pages, as the gateway gives it. */
function trail(all: readonly string[], alarms: readonly string[] = []) {
  const [header, ...rest] = all;
  const records = rest.filter((line) => !isSealLine(line));
  const checkpoints = rest.filter((line) => isSealLine(line));
  const sizeOf = (line: string) => (JSON.parse(line) as { checkpoint: { size: number } }).checkpoint.size;
  return ({ url }: SeenRequest): CannedReply => {
    if (url.pathname === "/v1/audit/seal") return { body: { alarms } };
    const from = Number(url.searchParams.get("from"));
    const end = Math.min(from + Number(url.searchParams.get("limit")), records.length + 1);
    return {
      body: {
        header,
        records: records.slice(from - 1, end - 1),
        next: end > records.length ? null : end,
        checkpoints: checkpoints.filter((line) => sizeOf(line) >= from && sizeOf(line) < end),
      },
    };
  };
}

describe("dvctl audit export", () => {
  it("prints header, records and checkpoints in place, byte for byte", async () => {
    const { code, out, requests } = await against(trail(lines), ["audit", "export", "--quiet"]);

    expect(code).toBe(0);
    expect(out).toBe(`${lines.join("\n")}\n`);
    expect(requests.map(({ url }) => url.searchParams.get("from"))).toEqual(["1", "1001", "2001"]);
  });

  it("ends with the exit code of what refuses it", async () => {
    const { code, out } = await against(
      () => problem("PERMISSION_DENIED", "permission-denied", 403, 1),
      ["audit", "export"],
    );

    expect({ code, out }).toEqual({ code: 1, out: "" });
  });

  it("does not go round in circles with a server that does", async () => {
    const { code, err } = await against(
      () => ({ body: { header: lines[0], records: [], next: 1, checkpoints: [] } }),
      ["audit", "export"],
    );

    expect(code).toBe(1);
    expect(err).toContain("MALFORMED_REPLY");
  });
});

describe("dvctl audit verify", () => {
  it("says that nothing was altered, and by whom it is witnessed", async () => {
    const { code, out } = await against(trail(lines), ["audit", "verify"]);

    expect(code).toBe(0);
    expect(out).toMatch(/2400 (records )?of \d+ emitters|2400 records/);
    expect(out).toMatch(/witnesses: 2/);
  });

  it("ends with 6 while the servers themselves have an alarm, whatever the trail holds now", async () => {
    const { code, err } = await against(trail(lines, ["ROLLBACK: 40 records are gone"]), ["audit", "verify"]);

    expect(code).toBe(6);
    expect(err).toContain("40 records are gone");
  });

  it("checks every signature when asked to", async () => {
    const { out } = await against(trail(lines), ["audit", "verify", "--signatures", "--format", "json"]);

    expect(JSON.parse(out)).toMatchObject({ ok: true, signatures: 2_400 });
  });

  it("ends with 6 and the place when a record was altered", async () => {
    const altered = lines.map((line, i) => (i === 700 ? line.replace('"apply"', '"check"') : line));
    expect(altered[700]).not.toBe(lines[700]);
    const { code, out, err } = await against(trail(altered), ["audit", "verify"]);

    expect(code).toBe(6);
    expect(out).toMatch(/altered/);
    expect(err).toContain("not what was written");
  });

  it("ends with 6 with fewer witnesses than asked for, and with another cluster's key", async () => {
    const few = await against(trail(lines), ["audit", "verify", "--min-witnesses", "3"]);
    const other = await against(trail(lines), ["audit", "verify", "--trust", `O${"A".repeat(55)}`]);

    expect([few.code, other.code]).toEqual([6, 6]);
  });
});

describe("dvctl audit follow", () => {
  const record = (seq: number, fields: object = {}) => ({
    ...{ v: 1, id: "0".repeat(32), emitter: "gateway-x", n: seq, time: "2026-01-01T00:00:00.000Z", boot: "b", mono: 1 },
    ...{ kind: "outcome", ref: `ref-${seq}`, actor: "abc", user: "alice", source: null, action: "host.put-file" },
    ...{
      mode: "apply",
      targets: ["node-1"],
      args: {},
      reason: null,
      override: null,
      planDigest: null,
      operation: null,
    },
    ...{ requestId: null, traceId: null, result: { status: "ok", code: null, exitCode: 0, message: null }, seq },
    ...fields,
  });
  const page = (lastSeq: number, ...items: readonly object[]) => ({ body: { items, lastSeq, nextBefore: null } });

  it("begins with what comes, goes on behind what it has, and leaves its own reading out", async () => {
    const { code, out, requests } = await against(
      (_, number) =>
        [page(7), page(9, record(8, { kind: "read", result: null }), record(9)), "drop" as const, page(10, record(10))][
          number - 1
        ] ?? "hang",
      ["audit", "follow", "--count", "2", "--actor", "abc"],
    );

    expect(code).toBe(0);
    expect(requests.slice(1).map(({ url }) => url.searchParams.get("after"))).toEqual(["7", "9", "9"]);
    expect(requests[1]?.url.searchParams.get("actor")).toBe("abc");
    expect(out.split("\n")).toEqual([
      "2026-01-01T00:00:00.000Z 9 outcome abc (alice) host.put-file node-1: ok ref-9",
      "2026-01-01T00:00:00.000Z 10 outcome abc (alice) host.put-file node-1: ok ref-10",
      "",
    ]);
  });

  it("prints one JSON object per line", async () => {
    const { out } = await against(
      () => page(2, record(1), record(2)),
      ["audit", "follow", "--after", "0", "--count", "2", "--format", "json"],
    );

    expect(
      out
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).seq),
    ).toEqual([1, 2]);
  });

  it("ends at Ctrl-C", async () => {
    const { code } = await against(
      (_, number) => {
        if (number === 1) return page(0);
        process.emit("SIGINT");
        return "hang";
      },
      ["audit", "follow"],
    );

    expect(code).toBe(130);
  });
});
