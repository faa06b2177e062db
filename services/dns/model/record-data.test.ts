// SPDX-License-Identifier: Apache-2.0
/** Values in the spelling of dig. */
import { expect, test } from "vitest";
import { canonicalData, sameSet, shownSet } from "./record-data.ts";

test.each([
  ["A", "192.0.2.1", "192.0.2.1"],
  ["AAAA", "2001:0DB8:0:0:0:0:0:1", "2001:db8::1"],
  ["CNAME", "Other", "other.z.test."],
  ["CNAME", "other.example.org", "other.example.org."],
  ["PTR", "web1.z.test", "web1.z.test."],
  ["MX", " 010  mail ", "10 mail.z.test."],
  ["SRV", "0 0 0 .", "0 0 0 ."],
  ["TXT", 'say "hi" \\ ü', String.raw`"say \"hi\" \\ \195\188"`],
  ["TXT", '"a" "b;c"', '"a" "b;c"'],
  ["TXT", String.raw`"\228\"x\\"`, String.raw`"\228\"x\\"`],
  ["TXT", "x".repeat(300), `"${"x".repeat(255)}" "${"x".repeat(45)}"`],
] as const)("%s %j is %j", (type, text, data) => {
  expect(canonicalData(type, text, "z.test")).toBe(data);
});

test.each([
  ["A", "192.0.2.01"],
  ["A", "2001:db8::1"],
  ["AAAA", "fe80::1%eth0"],
  ["MX", "mail"],
  ["MX", "70000 mail"],
  ["SRV", "1 2 mail"],
  ["TXT", '"a" b'],
  ["TXT", `"${"x".repeat(256)}"`],
  ["TXT", String.raw`"\999"`],
  ["CNAME", "a b"],
] as const)("%s %j is refused", (type, text) => {
  expect(() => canonicalData(type, text, "z.test")).toThrow(expect.objectContaining({ code: "DNS_RECORD_INVALID" }));
});

test("sets differ by time to live as well", () => {
  expect(sameSet({ ttl: 60, data: ["a"] }, { ttl: 61, data: ["a"] })).toBe(false);
  expect(sameSet(null, null)).toBe(true);
  expect(sameSet(null, { ttl: 60, data: [] })).toBe(false);
  expect([shownSet(null), shownSet({ ttl: 60, data: ["a", "b"] })]).toEqual([null, "60 a, b"]);
});
