// SPDX-License-Identifier: Apache-2.0
import { ERROR_CODES, type ErrorCode, exitCodeOf } from "@debvisor/proto-events/errors";
import { describe, expect, test } from "vitest";
import { outcomeOf, refusalOf } from "./audit-result.ts";

const failure = (code: ErrorCode, message = "why") => {
  const { kind } = ERROR_CODES[code];
  return { code, kind, exitCode: exitCodeOf(kind), message };
};

describe("the result of a change that was forwarded", () => {
  test("is ok without an error", () => {
    expect(outcomeOf(undefined)).toEqual({ status: "ok", code: null, exitCode: 0, message: null });
  });

  test.each([
    ["NODE_NOT_FOUND", "refused"],
    ["NODE_NAME_TAKEN", "refused"],
    ["TOKEN_SCOPE_TOO_WIDE", "refused"],
    ["LOCK_HELD", "refused"],
    ["CHECK_FAILED", "refused"],
    ["UNAVAILABLE", "refused"],
    ["TOOL_FAILED", "failed"],
    ["INTERNAL", "failed"],
    ["TIMEOUT", "unknown"],
    ["BUS_UNAVAILABLE", "unknown"],
    ["MALFORMED_REPLY", "unknown"],
  ] as const)("after %s is %s", (code, status) => {
    expect(outcomeOf(failure(code))).toMatchObject({ status, code, exitCode: exitCodeOf(ERROR_CODES[code].kind) });
  });

  test("holds no endless text", () => {
    expect(outcomeOf(failure("TOOL_FAILED", "x".repeat(9_000))).message).toHaveLength(500);
    expect(refusalOf(failure("TIMEOUT"))).toMatchObject({ status: "refused", code: "TIMEOUT", exitCode: 4 });
  });
});
