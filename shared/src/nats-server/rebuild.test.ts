// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import type { Replica, ReplicaLook } from "../bus/replica-look.ts";
import { faultOfOthers, RebuildRequest } from "./rebuild.ts";

const SERVERS = ["a-1", "b-1", "c-1"];
const SELF = "a-1";

/** A look while `a-1` is stopped, with the last sequences of the two others. */
function look(last: Record<string, number>, leader = "b-1"): ReplicaLook {
  const replicas = Object.entries(last).map(
    ([server, seq]): Replica => ({
      ...{ server, stream: "DV_OPS", messages: seq, first: 1, last: seq, deleted: 0, firstAt: 1, lastAt: 2 },
      ...{ leader, peers: SERVERS, group: "S-R3F-x" },
    }),
  );
  const answered = new Map(Object.keys(last).map((server) => [server, undefined]));
  return { at: 0, servers: SERVERS, answered, replicas };
}

const fault = (before: ReplicaLook, now: ReplicaLook) => faultOfOthers(before, now, ["DV_OPS"], SELF);

test("two others that are led and have all that either had before stand in for a server", () => {
  expect(fault(look({ "b-1": 7, "c-1": 6 }), look({ "b-1": 8, "c-1": 7 }))).toBeUndefined();
});

test("a message that this server and one other acknowledged has to reach the third before anything goes", () => {
  expect(fault(look({ "b-1": 7, "c-1": 6 }), look({ "b-1": 7, "c-1": 6 }))).toContain("c-1 is behind");
});

test("nobody stands in when one is away, nobody leads, or the group has no leader", () => {
  expect(fault(look({ "b-1": 7 }), look({ "b-1": 7 }))).toContain("c-1 does not answer");
  expect(fault(look({ "b-1": 7, "c-1": 7 }), look({ "b-1": 7, "c-1": 7 }, "a-1"))).toContain("Nobody leads");
  expect(fault(look({ "b-1": 7, "c-1": 7 }), { ...look({ "b-1": 7, "c-1": 7 }), servers: [] })).toContain("no leader");
});

test("a request names streams of the contract, nothing else", () => {
  const id = "0".repeat(32);
  expect(RebuildRequest.safeParse({ id, streams: ["DV_OPS", "KV_dv_nodes"] }).success).toBe(true);
  for (const streams of [[], ["../../etc"], ["DV_OPS/.."]])
    expect(RebuildRequest.safeParse({ id, streams }).success).toBe(false);
  expect(RebuildRequest.safeParse({ id: "../x", streams: ["DV_OPS"] }).success).toBe(false);
});
