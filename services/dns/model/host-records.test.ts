// SPDX-License-Identifier: Apache-2.0
import type { HostRecord } from "@debvisor/proto-events/dns-hosts";
import { describe, expect, test } from "vitest";
import { registration, setsOf, usableAddresses } from "./host-records.ts";
import type { RrSet } from "./record-data.ts";

const ZONES = ["x.test", "2.0.192.in-addr.arpa"];
const a = (...data: string[]): HostRecord => ({ zone: "x.test", name: "h.x.test", type: "A", data });
const KEEP = { ttl: undefined, takeOver: false };
/** Every set that is read has these values. */
const has =
  (ttl: number, ...data: string[]) =>
  (): RrSet => ({ ttl, data });
const nothing = () => null;

test("a host has its addresses by kind, and a PTR where there is a zone for it", () => {
  const { sets, homeless } = setsOf(
    { zone: "x.test", name: "h.x.test", addresses: ["192.0.2.9", "192.0.2.1", "2001:db8::1"] },
    ZONES,
  );

  expect(sets.map(({ name, type, data }) => [name, type, data])).toEqual([
    ["h.x.test", "A", ["192.0.2.1", "192.0.2.9"]],
    ["h.x.test", "AAAA", ["2001:db8::1"]],
    ["9.2.0.192.in-addr.arpa", "PTR", ["h.x.test."]],
    ["1.2.0.192.in-addr.arpa", "PTR", ["h.x.test."]],
  ]);
  expect(homeless).toEqual(["2001:db8::1"]);
});

describe("a registration", () => {
  test("makes what is not there", () => {
    const set = a("192.0.2.1");

    expect(registration([set], [], nothing, KEEP)).toEqual({
      changes: [{ zone: set.zone, name: set.name, type: "A", before: null, after: { ttl: 3600, data: set.data } }],
      made: [set],
      taken: [],
    });
  });

  test("changes what it made, and keeps its time to live", () => {
    const { changes, made } = registration([a("192.0.2.2")], [a("192.0.2.1")], has(300, "192.0.2.1"), KEEP);

    expect(changes[0]?.after).toEqual({ ttl: 300, data: ["192.0.2.2"] });
    expect(made).toEqual([a("192.0.2.2")]);
  });

  test("does nothing when all is there, and does not claim what somebody else made", () => {
    const set = a("192.0.2.1");

    expect(registration([set], [set], has(60, "192.0.2.1"), KEEP)).toEqual({ changes: [], made: [set], taken: [] });
    expect(registration([set], [], has(60, "192.0.2.1"), KEEP)).toEqual({ changes: [], made: [], taken: [] });
  });

  test("leaves alone what somebody else made or changed, unless it shall take it over", () => {
    const found = has(60, "192.0.2.7");
    const former = [a("192.0.2.1")];

    const refused = registration([a("192.0.2.2")], former, found, KEEP);
    expect([refused.changes, refused.taken]).toEqual([[], [{ set: a("192.0.2.2"), found: found() }]]);
    const taken = registration([a("192.0.2.2")], former, found, { ...KEEP, takeOver: true });
    expect([taken.changes.length, taken.taken]).toEqual([1, []]);
  });

  test("that is no longer wished takes away its own values only", () => {
    const former = [a("192.0.2.1")];

    const become = (read: () => RrSet | null) => registration([], former, read, KEEP).changes.map((one) => one.after);
    expect(become(has(60, "192.0.2.1"))).toEqual([null]);
    expect(become(has(60, "192.0.2.1", "192.0.2.7"))).toEqual([{ ttl: 60, data: ["192.0.2.7"] }]);
    expect(become(has(60, "192.0.2.7"))).toEqual([]);
    expect(become(nothing)).toEqual([]);
  });
});

test.each([
  [["127.0.0.1", "169.254.3.4", "::1", "fe80::1", "ff02::1", "::", "0.0.0.0", "224.0.0.1", "nonsense"], []],
  [
    ["192.168.1.5", "10.0.0.1", "2001:DB8::0:5", "fd00::1"],
    ["192.168.1.5", "2001:db8::5"],
  ],
])("of %j the usable addresses are %j", (given, usable) => {
  expect(usableAddresses(given)).toEqual(usable);
});
