// SPDX-License-Identifier: Apache-2.0
import { createHash } from "node:crypto";
import { OperationId } from "@debvisor/proto-events/primitives";
import { describe, expect, test } from "vitest";
import { operationIdOf } from "./operation-id.ts";

describe("the id of an operation", () => {
  test("is the first 65 bits of the hash in base32", () => {
    const bits = [...createHash("sha256").update("operation\nadminkey\nk1").digest()]
      .map((byte) => byte.toString(2).padStart(8, "0"))
      .join("");
    const expected = Array.from({ length: 13 }, (_, i) =>
      "abcdefghijklmnopqrstuvwxyz234567".charAt(Number.parseInt(bits.slice(i * 5, i * 5 + 5), 2)),
    ).join("");

    expect(operationIdOf("adminkey", "k1")).toBe(`op-${expected}`);
  });

  test("is valid, the same for a repeat, and another for another caller or key", () => {
    const ids = ["a\u0000k", "a\u0000l", "b\u0000k"].map((pair) => {
      const [principal = "", key = ""] = pair.split("\u0000");
      return operationIdOf(principal, key);
    });

    expect(ids.map((id) => OperationId.safeParse(id).success)).toEqual([true, true, true]);
    expect(new Set(ids).size).toBe(3);
    expect(operationIdOf("a", "k")).toBe(ids[0]);
  });
});
