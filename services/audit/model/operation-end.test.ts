// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { operationEnd } from "./operation-end.ts";

const entry = (record: object | string, timeMs = 1) => ({
  text: typeof record === "string" ? record : JSON.stringify(record),
  timeMs,
});
const CREATED = entry({ t: "created" });
const END = entry({ t: "end", state: "succeeded", error: null, changed: true }, 9);

test.for([
  ["no record", [], "none"],
  ["created", [CREATED], "lives"],
  ["taken over", [CREATED, entry({ t: "claim" })], "lives"],
  ["at work", [CREATED, entry({ t: "locks" }), entry({ t: "steps" })], "lives"],
  ["stuck", [CREATED, entry({ t: "phase", phase: "stuck" })], "lives"],
  ["ended", [CREATED, END], "ended"],
  ["ended and closed", [CREATED, END, entry({ t: "closed" })], "ended"],
  ["ended, taken over to be closed", [CREATED, END, entry({ t: "claim" })], "ended"],
  ["ended, then to be undone", [CREATED, END, entry({ t: "request", request: "rollback" })], "lives"],
  ["undone after its end", [CREATED, END, entry({ t: "locks" }), END], "ended"],
  ["a record of a later version", [CREATED, END, entry({ t: "later" })], "lives"],
  ["a record that is no JSON", [CREATED, END, entry("{")], "lives"],
  ["an end in a state of a later version", [CREATED, entry({ t: "end", state: "later" })], "lives"],
] as const)("%s: %s", ([, records, state]) => {
  expect(operationEnd(records).state).toBe(state);
});

test.for([
  ["succeeded", true, "ok"],
  ["succeeded", false, "unchanged"],
  ["failed", true, "failed"],
  ["rolled-back", false, "undone"],
  ["cancelled", false, "undone"],
  ["refused", false, "refused"],
] as const)("an end that is %s (changed: %s) is an outcome that is %s", ([state, changed, status]) => {
  const error = state === "succeeded" ? null : { code: "STEP_FAILED", kind: "operation-failed", message: "no" };

  const end = operationEnd([CREATED, entry({ t: "end", state, error, changed }, 9)]);

  expect(end).toEqual({
    state: "ended",
    atMs: 9,
    status,
    code: error === null ? null : "STEP_FAILED",
    message: error === null ? null : "no",
  });
});
