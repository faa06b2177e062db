// SPDX-License-Identifier: Apache-2.0
/** What dig and nsupdate printed, recorded from BIND 9.18.49. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readReplies, updateFailure, validationFault } from "./bind-output.ts";

const sample = (name: string) => readFileSync(join(import.meta.dirname, "samples", `dig-9.18.49-${name}.txt`), "utf8");

describe("readReplies", () => {
  test("tells the replies of one run apart, in order", () => {
    const replies = readReplies(sample("four-questions"));

    expect(replies.map(({ status, authoritative, records }) => [status, authoritative, records.length])).toEqual([
      ["NOERROR", true, 2],
      ["NXDOMAIN", true, 0],
      ["NOERROR", true, 2],
      ["NOERROR", true, 1],
    ]);
    expect(replies[0]?.records).toContainEqual({
      name: "txt.dv.test",
      ttl: 300,
      type: "TXT",
      data: String.raw`"hello world" "a;b\"c"`,
    });
  });

  test.each([
    ["signed", undefined],
    ["badkey", { error: "BADKEY", skewSeconds: null }],
    ["badsig", { error: "BADSIG", skewSeconds: null }],
    ["badtime", { error: "BADTIME", skewSeconds: 3_600 }],
  ])("reads the TSIG of the reply %s", (name, tsig) => {
    expect(readReplies(sample(name))[0]?.tsig).toEqual(tsig);
  });

  test("of nothing is no reply", () => {
    expect(readReplies("")).toEqual([]);
    expect(readReplies(";; no servers could be reached\n")).toEqual([]);
  });
});

test.each([
  ["update failed: YXRRSET\n", "prerequisite"],
  ["update failed: NXRRSET\n", "prerequisite"],
  ["; TSIG error with server: tsig indicates error\nupdate failed: NOTAUTH(BADKEY)\n", "BADKEY"],
  ["; TSIG error with server: tsig indicates error\nupdate failed: REFUSED(BADKEY)\n", "BADKEY"],
  ["; TSIG error with server: tsig indicates error\nupdate failed: NOTAUTH(BADSIG)\n", "BADSIG"],
  ["update failed: NOTAUTH\n", "NOTAUTH"],
  ["update failed: REFUSED\n", "REFUSED"],
  ["; Communication with 127.0.0.1#5399 failed: connection refused\n", "unreachable"],
  ["syntax error\n", undefined],
])("updateFailure reads %j", (stderr, failure) => {
  expect(updateFailure(stderr)).toBe(failure);
});

test.each([
  ["; fully validated\ndv.test. 60 IN SOA ns1.dv.test. admin.dv.test. 3 60 30 86400 30\n", undefined],
  ["; unsigned answer\ndv.test. 60 IN A 192.0.2.1\n", "; unsigned answer"],
  [
    ";; validating dv.test/DNSKEY: no valid signature found (DS)\n;; resolution failed: broken trust chain\n",
    "validating dv.test/DNSKEY: no valid signature found (DS)",
  ],
  [";; resolution failed: failure\n", ";; resolution failed: failure"],
])("validationFault reads %j", (output, fault) => {
  expect(validationFault(output)).toBe(fault);
});
