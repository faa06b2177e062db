// SPDX-License-Identifier: Apache-2.0
/** The small models: rate limits, JSON depth, WebSocket frames, event queries, idempotency, status. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CensusCount, digestOf, resultJson } from "./census.ts";
import { EventQuery, parseSince, QueryFault, toSubscription } from "./event-query.ts";
import { fateOf, judgeRepeat } from "./idempotency.ts";
import { nestsDeeperThan } from "./json-depth.ts";
import { bucketOf, rateClassOf } from "./rate-limit.ts";
import { countNodes, judgeNodes, judgeService, worst } from "./status.ts";
import { textFrame } from "./ws-frame.ts";

describe("rates", () => {
  it("allow as many at once as in a minute, and then at that rate", () => {
    const bucket = bucketOf(2, 0);

    expect([0, 0, 0, 29_999, 30_000].map((ms) => bucket.take(ms))).toEqual([0, 0, 30_000, 1, 0]);
    expect(bucketOf(0, 0).take(0)).toBe(0);
  });

  it("puts operations into classes by effect and verb", () => {
    expect([
      rateClassOf("listNodes", "read"),
      rateClassOf("disableNode", "change"),
      rateClassOf("createToken", "change"),
      rateClassOf("purge", "destroy"),
      rateClassOf("putFile", "change"),
      rateClassOf("rebootNodes", "destroy"),
      rateClassOf("cancelOperation", "change"),
      rateClassOf("rollbackOperation", "destroy"),
    ]).toEqual(["read", "change", "lifecycle", "lifecycle", "change", "lifecycle", "change", "lifecycle"]);
  });
});

describe("the depth of JSON", () => {
  const depthOf = (value: unknown): number =>
    typeof value === "object" && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0;

  it("is that of the parsed value", () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 6 }), fc.integer({ min: 0, max: 8 }), (text, limit) => {
        expect(nestsDeeperThan(text, limit)).toBe(depthOf(JSON.parse(text)) > limit);
      }),
    );
  });
});

describe("a WebSocket frame", () => {
  it.each([0, 1, 125, 126, 65_535, 65_536, 70_000])("of %i bytes says its length", (length) => {
    const frame = textFrame("x".repeat(length));
    const [first, second] = frame;
    expect(first).toBe(0x81);
    const read = second === 126 ? frame.readUInt16BE(2) : second === 127 ? Number(frame.readBigUInt64BE(2)) : second;
    expect(read).toBe(length);
    expect(frame.subarray(frame.length - length).toString()).toBe("x".repeat(length));
  });
});

describe("an event query", () => {
  const subscribe = (query: object, lastEventId?: string) =>
    toSubscription(EventQuery.parse(query), lastEventId, 1_000_000, (ref) => (ref === "core" ? "core" : undefined));

  it("reads since as sequence, duration or time", () => {
    expect(parseSince("17", 0)).toEqual({ kind: "after", seq: 17 });
    expect(parseSince("10m", 1_000_000)).toEqual({ kind: "time", timeMs: 400_000 });
    expect(parseSince("1970-01-01T00:00:01+01:00", 0)).toEqual({ kind: "time", timeMs: -3_599_000 });
  });

  it("refuses any other text with a fault, and throws nothing else", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parseSince(text, 0);
        } catch (error) {
          expect(error).toBeInstanceOf(QueryFault);
        }
      }),
    );
  });

  it("lets the last id that a browser saw win over its address", () => {
    expect(subscribe({ since: "3" }, "9").start).toEqual({ kind: "after", seq: 9 });
  });

  it("matches by type and origin, and equal queries share a key", () => {
    const one = subscribe({ filter: "a.b.*, c.>", node: "core" });
    expect([
      one.matches({ type: "a.b.x", origin: "core" }),
      one.matches({ type: "a.b.x", origin: "n" }),
      one.matches({ type: "b.b.b", origin: "core" }),
    ]).toEqual([true, false, false]);
    expect(subscribe({ filter: "c.>,a.b.*", node: "core" }).key).toBe(one.key);
    expect(() => subscribe({ node: "nobody" })).toThrow(QueryFault);
    expect(() => subscribe({ filter: "a..b" })).toThrow(QueryFault);
  });
});

describe("a repeat", () => {
  const stored = { state: "pending", fingerprint: "f", startedAtMs: 0, answered: false } as const;
  const done = { ...stored, state: "done", answered: true } as const;
  const request = { fingerprint: "f", idempotent: true, durable: false, timeoutMs: 1_000 };
  const durable = { ...request, durable: true };

  it.each([
    ["of another request", done, { ...request, fingerprint: "g" }, 0, "reused"],
    ["after the answer", done, request, 0, "replay"],
    ["after an answer that was too large to keep", { ...done, answered: false }, request, 0, "replay"],
    ["after an unknown end", { ...stored, state: "unknown" }, request, 0, "replay"],
    ["while it runs", stored, request, 5_999, "in-progress"],
    ["after the gateway died, harmless", stored, request, 6_000, "take-over"],
    ["after the gateway died, not harmless", stored, { ...request, idempotent: false }, 6_000, "lost"],
    ["of a durable operation under another request", stored, { ...durable, fingerprint: "g" }, 0, "reused"],
    ["of a durable operation while the first runs, or when its gateway died", stored, durable, 0, "take-over"],
    ["of a durable operation after its answer", done, durable, 0, "replay"],
    [
      "of a durable operation whose answer was too large to keep",
      { ...done, answered: false },
      durable,
      0,
      "take-over",
    ],
  ] as const)("%s", (_title, known, again, now, verdict) => {
    expect(judgeRepeat(known, again, now)).toBe(verdict);
  });

  it.each([
    ["a result", undefined, false, "keep"],
    ["a refusal", { code: "NODE_ALIVE", kind: "precondition-failed" }, false, "keep"],
    ["nobody there", { code: "UNAVAILABLE", kind: "unavailable" }, false, "release"],
    ["busy", { code: "X", kind: "busy" }, false, "release"],
    ["no audit trail", { code: "AUDIT_UNAVAILABLE", kind: "unavailable" }, false, "release"],
    ["a timeout, harmless to repeat", { code: "TIMEOUT", kind: "timeout" }, true, "release"],
    ["a timeout", { code: "TIMEOUT", kind: "timeout" }, false, "unknown"],
    ["no acknowledgement", { code: "BUS_UNAVAILABLE", kind: "unavailable" }, false, "unknown"],
  ] as const)("after %s", (_title, error, idempotent, fate) => {
    expect(fateOf(error, idempotent)).toBe(fate);
  });
});

describe("a census", () => {
  it("adds up, and its digest does not depend on the order", () => {
    const statuses = ["ok", "failed", "refused", "unreachable", "timed-out", "skipped"] as const;
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...statuses)), (list) => {
        const count = new CensusCount(list.length, "d");
        for (const status of list) count.add(status);
        const { total, digest: _digest, ...rest } = count.result;
        expect(Object.values(rest).reduce((sum, value) => sum + value, 0)).toBe(total);
      }),
    );
    expect(digestOf(["b", "a"])).toBe(digestOf(["a", "b"]));
    expect(JSON.parse(resultJson({ node: "n", name: "m", status: "ok", ms: 1, raw: '{"x":1}' }))).toEqual({
      node: "n",
      name: "m",
      status: "ok",
      ms: 1,
      data: { x: 1 },
    });
  });
});

describe("status", () => {
  const contract = {
    service: "s",
    summary: "",
    operations: { a: { scope: "core" }, b: { scope: "node" } },
    events: {},
  } as never;
  const alive = [
    { id: "1", name: "one" },
    { id: "2", name: "two" },
  ];

  it("judges nodes and services", () => {
    expect(judgeNodes(countNodes([])).state).toBe("unknown");
    expect(judgeNodes(countNodes([{ state: "alive" }, { state: "disabled" }])).state).toBe("ok");
    expect(judgeNodes(countNodes([{ state: "alive" }, { state: "lost" }])).state).toBe("degraded");
    expect(judgeNodes(countNodes([{ state: "lost" }])).state).toBe("failed");
    expect(judgeService("s", [contract], [], alive).state).toBe("failed");
    expect(
      judgeService(
        "s",
        [contract],
        [
          { service: "s", part: "core", node: "1" },
          { service: "s", part: "node", node: "1" },
        ],
        alive,
      ),
    ).toEqual({ state: "degraded", detail: "missing on two" });
    expect(worst(["ok", "unknown", "degraded"])).toBe("degraded");
  });
});
