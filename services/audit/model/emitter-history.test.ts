// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { EmitterHistory } from "./emitter-history.ts";

const record = (emitter: string, n: number, boot: string, cred: string | null = null) => ({ emitter, n, boot, cred });

test("the place of every emitter before a record, with the credentials that are used after it", () => {
  const history = new EmitterHistory();
  const records = [
    record("a", 1, "a1", "cred-a1"),
    record("b", 1, "b1", "cred-b1"),
    record("a", 2, "a1"),
    record("a", 3, "a2", "cred-a2"),
    record("b", 2, "b1"),
    record("a", 4, "a2"),
  ];
  for (const [index, one] of records.entries()) history.take(one, index + 1);

  expect(history.before(1)).toEqual([]);
  expect(history.before(3)).toEqual([
    { emitter: "a", seq: 1, n: 1, credentials: { a1: "cred-a1" } },
    { emitter: "b", seq: 2, n: 1, credentials: { b1: "cred-b1" } },
  ]);
  expect(history.before(6)).toEqual([
    { emitter: "a", seq: 4, n: 3, credentials: { a2: "cred-a2" } },
    { emitter: "b", seq: 5, n: 2, credentials: {} },
  ]);
});
