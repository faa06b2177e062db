// SPDX-License-Identifier: Apache-2.0
/** How operations and their targets end. */
import { describe, expect, test } from "vitest";
import { DvError } from "../errors.ts";
import { endOf, isSealed, isUndoable, outcomesOf, sealedSteps, wholeIsUndone } from "./ending.ts";
import type { StepChange } from "./log-record.ts";
import { created, end, FAILURE, foldedOf, phase, steps } from "./sample-operation.ts";

const AWAY = new DvError("UNAVAILABLE", "nobody answers").toWire();

function afterwards(targets: readonly (number | null)[], ...changes: StepChange[]) {
  return foldedOf(created({ targets }), ...(changes.length > 0 ? [steps(...changes)] : []));
}

describe("the status of a target", () => {
  test.each([
    [
      "ok",
      [
        { step: "s0", state: "done" },
        { step: "s1", state: "done" },
      ],
    ],
    [
      "failed",
      [
        { step: "s0", state: "done" },
        { step: "s1", state: "failed", error: FAILURE },
      ],
    ],
    [
      "failed",
      [
        { step: "s0", state: "failed", error: FAILURE },
        { step: "s0", state: "undone" },
      ],
    ],
    [
      "undone",
      [
        { step: "s0", state: "undone" },
        { step: "s1", state: "undone" },
      ],
    ],
    ["unreachable", [{ step: "s0", state: "failed", error: AWAY }]],
    [
      "stuck",
      [
        { step: "s0", state: "undo-failed", error: FAILURE },
        { step: "s1", state: "undone" },
      ],
    ],
    ["running", [{ step: "s0", state: "running" }]],
    ["pending", []],
  ] as const)("is %s", (status, changes) => {
    expect(outcomesOf(afterwards([1, 1], ...changes))).toMatchObject([{ name: "node-1", status }]);
  });

  test("is skipped when the operation ended before its turn, and what the plan says where no step touches it", () => {
    const shape = { targets: [1, 2], states: { 3: "unchanged", 4: "unreachable", 5: "skipped" } as const };
    const folded = foldedOf(created(shape), steps({ step: "s0", state: "done" }), end("failed"));

    expect(outcomesOf(folded).map(({ status }) => status)).toEqual([
      "ok",
      "skipped",
      "unchanged",
      "unreachable",
      "skipped",
    ]);
  });
});

describe("the end of an operation", () => {
  test("is a success when every target is as asked, those left out on purpose aside", () => {
    const shape = { targets: [1, 2], states: { 3: "unchanged", 4: "skipped" } as const };
    const folded = foldedOf(created(shape), steps({ step: "s0", state: "done" }, { step: "s1", state: "done" }));

    expect(endOf(folded)).toEqual({ state: "succeeded", error: null });
  });

  test("is a failure that names the targets when some of many did not succeed", () => {
    const folded = afterwards(
      [1, 2, 3],
      { step: "s0", state: "done" },
      { step: "s1", state: "undone", error: FAILURE },
    );

    const { state, error } = endOf(folded);
    expect([state, error?.code]).toEqual(["failed", "STEP_FAILED"]);
    expect(error?.message).toContain("node-2");
  });

  test("is a rollback when nothing of it remains", () => {
    const folded = afterwards([1, 2], { step: "s0", state: "undone", error: FAILURE });

    expect(endOf(folded).state).toBe("rolled-back");
  });

  test("is a failure, and no rollback, when something was done that cannot be undone", () => {
    const changes = [{ step: "s0", state: "failed" as const, error: FAILURE, ran: true }];
    const back = (undoable: boolean) =>
      foldedOf(created({ targets: [1], undoable }), steps(...changes), phase("undoing", "rolled-back"));

    expect(endOf(back(false)).state).toBe("failed");
    expect(endOf(back(true)).state).toBe("rolled-back");
    expect(endOf(foldedOf(created({ targets: [1, 2], undoable: false }), steps(...changes))).state).toBe("failed");
  });

  test("is a rollback when the step certainly had no effect, even if it could not be undone", () => {
    const changes = steps({ step: "s0", state: "failed", error: FAILURE, ran: false });
    const folded = foldedOf(created({ targets: [1], undoable: false }), changes, phase("undoing", "rolled-back"));

    expect(endOf(folded).state).toBe("rolled-back");
  });

  test("says that no target answered when none did", () => {
    const folded = afterwards([1, 2], { step: "s0", state: "failed", error: AWAY, ran: false });

    expect(endOf(folded)).toMatchObject({ state: "failed", error: { code: "UNAVAILABLE" } });
  });

  test("counts as failed only targets that were begun", () => {
    const folded = afterwards(
      [1, 2, 3],
      { step: "s0", state: "done" },
      { step: "s1", state: "undone", error: FAILURE },
    );

    expect(endOf(folded).error?.message).toBe("1 of 3 targets failed: node-2.");
  });

  test("after a cancel is cancelled", () => {
    const folded = foldedOf(
      created({ targets: [1] }),
      steps({ step: "s0", state: "undone" }),
      phase("undoing", "cancelled"),
    );

    expect(endOf(folded).state).toBe("cancelled");
  });
});

describe("a rollback", () => {
  const ended = (state: "succeeded" | "failed" | "cancelled" | "rolled-back", undoable = true) =>
    foldedOf(created({ targets: [1], undoable }), steps({ step: "s0", state: "done" }), end(state));

  test("is possible once it has ended and something of it remains that can be undone", () => {
    expect(isUndoable(ended("succeeded"))).toBe(true);
    expect(isUndoable(ended("failed"))).toBe(true);
    expect(isUndoable(ended("cancelled"))).toBe(false);
    expect(isUndoable(ended("rolled-back"))).toBe(false);
    expect(isUndoable(ended("succeeded", false))).toBe(false);
    expect(isUndoable(afterwards([1], { step: "s0", state: "done" }))).toBe(false);
  });

  test("stops at a step after which there is no way back, once that may have run; until then all goes back", () => {
    const sealed = (ran: boolean) =>
      foldedOf(
        created({ targets: [1, 1, 1], sealing: 1 }),
        steps({ step: "s0", state: "done" }, { step: "s1", state: "failed", error: FAILURE, ran }),
        ...(ran ? [phase("undoing", "rolled-back")] : []),
      );
    const done = steps(...["s0", "s1", "s2"].map((step) => ({ step, state: "done" as const })));

    expect([isSealed(sealed(true)), [...sealedSteps(sealed(true))]]).toEqual([true, ["s0"]]);
    expect([isSealed(sealed(false)), [...sealedSteps(sealed(false))]]).toEqual([false, []]);
    expect(endOf(sealed(true)).state).toBe("failed");
    expect(isUndoable(foldedOf(created({ targets: [1, 1, 1], sealing: 2 }), done, end("succeeded")))).toBe(false);
  });

  test("stops for the whole cluster at such a step of the cluster, and at one of a target for that target alone", () => {
    const done = steps(...["s0", "s1", "s2"].map((step) => ({ step, state: "done" as const })));
    const sealed = (targets: readonly (number | null)[], sealing: number) =>
      foldedOf(created({ targets, sealing }), done, end("succeeded"));

    expect([...sealedSteps(sealed([null, 1, null], 2))]).toEqual(["s0", "s1"]);
    expect(isUndoable(sealed([null, null, null], 2))).toBe(false);
    expect([...sealedSteps(sealed([null, null, null], 1))]).toEqual(["s0"]);
    expect([...sealedSteps(sealed([1, 2, 2], 2))]).toEqual(["s1"]);
  });

  test("after a failure undoes all of it for one target and for the cluster, and each alone for many", () => {
    expect(wholeIsUndone(afterwards([1, 1]))).toBe(true);
    expect(wholeIsUndone(afterwards([null, null]))).toBe(true);
    expect(wholeIsUndone(afterwards([1, 2]))).toBe(false);
  });
});
