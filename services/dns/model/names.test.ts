// SPDX-License-Identifier: Apache-2.0
/** Names in one spelling, their zones, and where PTR records stand. */
import { describe, expect, test } from "vitest";
import { domainName, reverseName, zoneOf } from "./names.ts";

describe("domainName", () => {
  test("is lower case without the final dot", () => {
    expect(domainName("Web1.DebVisor.Local.", "name")).toBe("web1.debvisor.local");
    expect(domainName("_sip._tcp.example.org", "name")).toBe("_sip._tcp.example.org");
  });

  test.each([
    "",
    ".",
    "a..b",
    "-a",
    "a-",
    "a b",
    "a;b",
    "a\nb",
    "b\u00fccher",
    "a".repeat(64),
    `${"ab.".repeat(84)}abc`,
  ])("refuses %j", (text) => {
    expect(() => domainName(text, "name")).toThrow(expect.objectContaining({ code: "DNS_RECORD_INVALID" }));
  });

  test("takes 63 characters of a label and 253 of a name, and for hosts no underscore", () => {
    const longest = `${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(61)}`;

    expect(domainName(longest, "name")).toHaveLength(253);
    expect(() => domainName(`${longest}d`, "name")).toThrow(/at most 253/);
    expect(() => domainName("a_b", "name", { host: true })).toThrow(/underscore/);
  });
});

test("the longest zone that fits is the name's", () => {
  const zones = ["example.org", "lab.example.org", "ample.org"];

  expect(zoneOf("web1.lab.example.org", zones)).toBe("lab.example.org");
  expect(zoneOf("lab.example.org", zones)).toBe("lab.example.org");
  expect(zoneOf("xlab.example.org", zones)).toBe("example.org");
  expect(zoneOf("example.com", zones)).toBeUndefined();
});

test.each([
  ["192.168.1.100", "100.1.168.192.in-addr.arpa"],
  ["2001:db8::7", `7.${"0.".repeat(23)}8.b.d.0.1.0.0.2.ip6.arpa`],
  ["::", `${"0.".repeat(32)}ip6.arpa`],
  ["1:2:3:4:5:6:7:8", "8.0.0.0.7.0.0.0.6.0.0.0.5.0.0.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.ip6.arpa"],
])("the PTR of %s stands under its digits in reverse", (address, name) => {
  expect(reverseName(address)).toBe(name);
});
