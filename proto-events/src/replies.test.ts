// SPDX-License-Identifier: Apache-2.0
/** The shapes that everything shares: they read what a newer peer sends, and refuse what is not of their kind. */
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { ERROR_CODES, ERROR_KINDS, type ErrorKind, errorEntry, exitCodeOf, GENERAL_ERROR_CODES } from "./errors.ts";
import { ControlFrame, EventEnvelope, fanOut, page, WireError } from "./replies.ts";

describe("an error on the wire", () => {
  test("of a kind that a newer peer invented reads as internal", () => {
    expect(WireError.parse({ code: "NEW", kind: "brand-new", message: "x" })).toEqual({
      code: "NEW",
      kind: "internal",
      message: "x",
    });
  });

  test("keeps its details", () => {
    const error = { code: "BUSY", kind: "busy", message: "x", details: { holder: "a" } };

    expect(WireError.parse(error)).toEqual(error);
  });
});

describe("the catalogue of errors", () => {
  test("names only known kinds, and says in sentences what happened and what to do", () => {
    for (const [code, entry] of Object.entries(ERROR_CODES)) {
      expect(code).toMatch(/^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$/);
      expect(Object.keys(ERROR_KINDS)).toContain(entry.kind);
      expect(entry.summary).toMatch(/^[A-Za-z].{9,}\.$/);
      expect(entry.remedy).toMatch(/^[A-Z`].{9,}\.$/);
    }
  });

  test("looks up what it knows and nothing else", () => {
    expect(errorEntry("NOT_FOUND")).toBe(GENERAL_ERROR_CODES.NOT_FOUND);
    expect(errorEntry("NO_SUCH_CODE")).toBeUndefined();
    expect(errorEntry("toString")).toBeUndefined();
  });

  test("gives every kind an exit code from 1 to 6, an HTTP status, and both fit together", () => {
    const exitOfStatus = new Map([
      [400, 2],
      [404, 3],
      [502, 5],
      [503, 4],
      [504, 4],
      [409, 5],
      [422, 6],
    ]);
    for (const [kind, { http, exit }] of Object.entries(ERROR_KINDS)) {
      expect(exitCodeOf(kind as ErrorKind)).toBe(exit);
      expect(exit).toBeGreaterThanOrEqual(1);
      expect(exit).toBeLessThanOrEqual(6);
      expect(exit).toBe(exitOfStatus.get(http) ?? exit);
    }
    expect(new Set(Object.values(ERROR_KINDS).map(({ http }) => http)).size).toBe(Object.keys(ERROR_KINDS).length);
  });
});

describe("shapes around an operation's output", () => {
  const census = { total: 2, digest: "d", ok: 1, failed: 0, refused: 0, unreachable: 1, timedOut: 0, skipped: 0 };
  const node = "abcdefghij234567";

  test("of a fan-out carry data or an error for each target", () => {
    const results = [
      { node, name: "node-1", status: "ok", ms: 1.5, data: { load: 1 } },
      {
        node,
        name: "node-2",
        status: "unreachable",
        ms: 0.4,
        error: { code: "UNAVAILABLE", kind: "unavailable", message: "away" },
      },
    ];

    expect(fanOut(z.object({ load: z.number() })).parse({ census, results })).toEqual({ census, results });
  });

  test("of a page end with a null cursor", () => {
    expect(page(z.number()).parse({ items: [1, 2], nextCursor: null })).toEqual({ items: [1, 2], nextCursor: null });
    expect(page(z.number()).safeParse({ items: [1] }).success).toBe(false);
  });
});

describe("frames of the event stream", () => {
  test("are told apart by their control word", () => {
    expect(ControlFrame.parse({ control: "caught-up", seq: 7 })).toEqual({ control: "caught-up", seq: 7 });
    expect(ControlFrame.safeParse({ control: "pause" }).success).toBe(false);
  });

  test("need an id of 128 bits in an envelope", () => {
    const envelope = {
      id: "0".repeat(32),
      type: "a.b.c",
      source: "core",
      time: "2026-01-31T08:00:00.000Z",
      subject: "a",
      dataversion: 1,
      data: {},
    };

    expect(EventEnvelope.safeParse(envelope).success).toBe(true);
    expect(EventEnvelope.safeParse({ ...envelope, id: "1" }).success).toBe(false);
    expect(EventEnvelope.safeParse({ ...envelope, time: "2026-01-31T08:00:00+01:00" }).success).toBe(false);
  });
});
