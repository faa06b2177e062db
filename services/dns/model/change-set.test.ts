// SPDX-License-Identifier: Apache-2.0
/** From what is asked to sets of records before and after, and to the lines of nsupdate. */
import { RecordChange } from "@debvisor/proto-events/dns-data";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { changesOf, type Goal, goalOf, refuseTwice, reverseGoals, updateLines } from "./change-set.ts";
import type { RrSet } from "./record-data.ts";

const zones = ["debvisor.local", "2.0.192.in-addr.arpa"];
const goal = (change: Record<string, unknown>, given?: string) =>
  goalOf(RecordChange.parse(change), { zones, standard: "debvisor.local", given });
const reading = (sets: Readonly<Record<string, RrSet>>) => (asked: Goal) => sets[`${asked.type} ${asked.name}`] ?? null;

describe("goalOf", () => {
  test("completes names by the zone, and tells the kind from the address", () => {
    expect(goal({ name: "Web1", data: ["192.0.2.1"] })).toMatchObject({ name: "web1.debvisor.local", type: "A" });
    expect(goal({ name: "web1.debvisor.local.", data: ["2001:DB8::0:1"] })).toMatchObject({
      zone: "debvisor.local",
      type: "AAAA",
      data: ["2001:db8::1"],
    });
    expect(goal({ name: "@", type: "TXT", data: ["x"] }, "other.test")).toMatchObject({ name: "other.test" });
  });

  test("of a name in no zone names the zone that is missing", () => {
    expect(goal({ name: "web1.example.org", data: ["192.0.2.1"] }).zone).toBe("example.org");
  });

  test("refuses what contradicts itself", () => {
    expect(() => goal({ name: "a", type: "CNAME", data: ["b", "c"] })).toThrow(/one target/);
    expect(() => goal({ action: "delete", name: "a" })).toThrow(/kind of record is missing/);
    const twice = goal({ name: "a", data: ["192.0.2.1"] });
    expect(() => refuseTwice([twice, twice])).toThrow(/named twice/);
  });
});

describe("changesOf", () => {
  const before = { ttl: 77, data: ["192.0.2.1", "192.0.2.2"] };
  const read = reading({ "A web1.debvisor.local": before });

  test("keeps the time to live unless another one is asked for", () => {
    const [kept] = changesOf([goal({ name: "web1", data: ["192.0.2.9"] })], read);
    const [given] = changesOf([goal({ name: "web1", data: ["192.0.2.9"], ttl: 300 })], read);
    const [fresh] = changesOf([goal({ name: "web2", data: ["192.0.2.9"] })], read);

    expect([kept?.after?.ttl, given?.after?.ttl, fresh?.after?.ttl]).toEqual([77, 300, 3_600]);
  });

  test("deletes one value, or all of them, and leaves out what stays", () => {
    const [one] = changesOf([goal({ action: "delete", name: "web1", data: ["192.0.2.1"] })], read);
    const [all] = changesOf([goal({ action: "delete", name: "web1", type: "A" })], read);

    expect(one?.after).toEqual({ ttl: 77, data: ["192.0.2.2"] });
    expect(all?.after).toBeNull();
    expect(changesOf([goal({ action: "delete", name: "web2", type: "A" })], read)).toEqual([]);
  });
});

test("reverseGoals sets the PTR of what stays, deletes that of what goes, and names what has no zone", () => {
  const asked = goal({ name: "web1", data: ["192.0.2.7", "198.51.100.1"], ptr: true });
  const change = { before: { ttl: 60, data: ["192.0.2.6"] }, after: { ttl: 60, data: asked.data } };

  const { goals, homeless } = reverseGoals([asked], () => change, zones);

  expect(goals.map(({ action, name, data }) => [action, name, data])).toEqual([
    ["delete", "6.2.0.192.in-addr.arpa", ["web1.debvisor.local."]],
    ["set", "7.2.0.192.in-addr.arpa", ["web1.debvisor.local."]],
  ]);
  expect(homeless).toEqual(["198.51.100.1"]);
});

/** A zone as nsupdate would change it, with prerequisites: undefined when they do not hold. */
function applied(set: RrSet | null, lines: readonly string[]): RrSet | null | undefined {
  const required = lines.filter((line) => line.startsWith("prereq yxrrset")).map((line) => line.split(" ")[4]);
  const absent = lines.some((line) => line.startsWith("prereq nxrrset"));
  if (absent ? set !== null : required.join() !== set?.data.join()) return undefined;
  const adds = lines.filter((line) => line.startsWith("update add")).map((line) => line.split(" "));
  return adds.length === 0 ? null : { ttl: Number(adds[0]?.[3]), data: adds.map((add) => add[5] ?? "") };
}

test("updateLines there and back leaves what was there, and changes nothing where something else is", () => {
  const address = fc.integer({ min: 1, max: 5 }).map((n) => `192.0.2.${n}`);
  const set = fc.option(
    fc.record({ ttl: fc.integer({ min: 30, max: 86_400 }), data: fc.uniqueArray(address, { minLength: 1 }) }),
  );
  fc.assert(
    fc.property(set, set, set, (before, after, other) => {
      const changes = [{ zone: "z", name: "a.z", type: "A" as const, before, after }];

      expect(applied(before, updateLines(changes, "do"))).toEqual(after);
      expect(applied(after, updateLines(changes, "undo"))).toEqual(before);
      if (other?.data.join() !== before?.data.join())
        expect(applied(other, updateLines(changes, "do"))).toBeUndefined();
    }),
  );
});
