// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { sealKeyFor } from "./node-files.ts";

const bytes = (fill: number) => Buffer.alloc(32, fill).toString("base64");

test("what services seal is not opened by the cluster secret", () => {
  const secrets = { cluster: "lab", secret: bytes(1), seal: bytes(2) };
  const key = sealKeyFor("dns", secrets);

  expect(Buffer.from(key, "base64")).toHaveLength(32);
  expect(sealKeyFor("dns", { ...secrets, secret: bytes(9) })).toBe(key);
  for (const other of [{ seal: bytes(3) }, { cluster: "lab-2" }])
    expect(sealKeyFor("dns", { ...secrets, ...other })).not.toBe(key);
  expect(sealKeyFor("other", secrets)).not.toBe(key);
  // Who has the preseed file can make only this one.
  expect(sealKeyFor("dns", { cluster: "lab", secret: bytes(1) })).not.toBe(key);
});
