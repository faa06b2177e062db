// SPDX-License-Identifier: Apache-2.0
/** The end of a signature as dig 9.18.49 prints it. */
import { expect, test } from "vitest";
import { signatureEnd } from "./signatures.ts";

test("the end of a signature is its fifth field", () => {
  const data = "SOA 13 2 60 20261212110640 20261128100640 32659 dv.test. cmaTpGaXiL4KmkzboKpUYLZpG6Txxo==";

  expect(new Date(signatureEnd(data)).toISOString()).toBe("2026-12-12T11:06:40.000Z");
  expect(signatureEnd("SOA 13 2 60")).toBe(0);
});
