// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from "vitest";
import type { RaftGroup } from "./process.ts";
import { isStuck } from "./stuck-groups.ts";

/** Written by nats-server 2.15.1: entry 3 makes Mp9UvCLP a member. */
const RECORD = Buffer.from(
  "5600000003000000000000004a05aa0bd53cec18000038" +
    "44614f75526e34010000000000000002000000000000000100000000000000020000000000000001000900000003" +
    "4d70395576434c5000995c04d996010809",
  "hex",
);
const PEER = "Mp9UvCLP";
const GROUP: RaftGroup = {
  ...{ name: "S-R3F-jQhUZIk6", state: "FOLLOWER", isLed: false, wasLed: false, size: 1 },
  ...{ committed: 2, applied: 2, last: 3 },
};

function changed(at: number): Buffer {
  const record = Buffer.from(RECORD);
  record.writeUInt8(record.readUInt8(at) ^ 1, at);
  return record;
}

describe("a group that will never have a leader", () => {
  test("is one of a server alone whose last entry makes it a member", () => {
    expect(isStuck(GROUP, RECORD, PEER)).toBe(true);
  });

  test.each([
    ["has others in it", { size: 2 }],
    ["holds an election", { state: "CANDIDATE" }],
    ["has a leader", { isLed: true }],
    ["had a leader since the start", { wasLed: true }],
    ["has entries that its stream lacks", { applied: 1 }],
    ["has several entries that do not count yet", { committed: 1, applied: 1 }],
    ["knows that all of its entries count", { committed: 3, applied: 3 }],
    ["has a log that goes on in another file", { committed: 3, applied: 3, last: 4 }],
  ])("is none that %s", (_what, change: Partial<RaftGroup>) => {
    expect(isStuck({ ...GROUP, ...change }, RECORD, PEER)).toBe(false);
  });

  test.each([
    ["is of another length", 0],
    ["has another number", 4],
    ["was sent when less counted", 38],
    ["follows another entry", 54],
    ["is one of several", 62],
    ["has another size", 64],
    ["is no new member", 68],
    ["is another member", 69],
  ])("is none whose last entry %s", (_what, at) => {
    expect(isStuck(GROUP, changed(at), PEER)).toBe(false);
  });

  test("is none whose log is shorter than one entry", () => {
    expect(isStuck(GROUP, RECORD.subarray(1), PEER)).toBe(false);
  });
});
