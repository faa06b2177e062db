// SPDX-License-Identifier: Apache-2.0
/** Which targets are begun when: limits hold at every moment, for every order in which targets end. */
import { OperationOptions } from "@debvisor/proto-events/durable";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { apply, type Folded } from "./fold.ts";
import type { StepChange } from "./log-record.ts";
import { created, foldedOf, placed, steps } from "./sample-operation.ts";
import { groupState, groupsOf, nextGroups } from "./schedule.ts";

function change(folded: Folded, one: StepChange): void {
  const [record] = placed([steps(one)]);
  if (record) apply(folded, { ...record, seq: folded.seq + 1 });
}

function optionsOf(more: Record<string, unknown>): OperationOptions {
  return OperationOptions.parse(more);
}

const plans = fc.record({
  nodes: fc.integer({ min: 1, max: 12 }),
  concurrency: fc.integer({ min: 1, max: 5 }),
  canary: fc.integer({ min: 0, max: 3 }),
  batch: fc.integer({ min: 0, max: 4 }),
  stopAfter: fc.integer({ min: 1, max: 4 }),
  /** Which of the busy ones ends next, and whether well. */
  ends: fc.array(fc.tuple(fc.nat(20), fc.boolean()), { minLength: 12, maxLength: 12 }),
});

describe("the order of targets", () => {
  test("never breaks concurrency, canary, batch or the number of failures", () => {
    fc.assert(
      fc.property(plans, ({ nodes, ends, ...limits }) => {
        const folded = foldedOf(created({ targets: Array.from({ length: nodes }, (_, i) => i + 1) }));
        const options = optionsOf(limits);
        const keys = groupsOf(folded).map(({ key }) => key);
        const busy = new Set<string>();
        let failures = 0;
        let isCanaryBad = false;
        const state = (key: string) => folded.steps.get(key)?.state;
        const ended = (key: string) => state(key) === "done" || state(key) === "failed";
        for (const [pick, good] of [...ends, ...ends]) {
          for (const { key } of nextGroups(folded, options, busy)) {
            const index = keys.indexOf(key);
            expect(failures).toBeLessThan(limits.stopAfter);
            if (index >= limits.canary) {
              expect(keys.slice(0, Math.min(limits.canary, nodes)).every((one) => state(one) === "done")).toBe(true);
              const begin =
                limits.batch === 0 ? 0 : limits.canary + Math.floor((index - limits.canary) / limits.batch) * limits.batch;
              expect(keys.slice(0, begin).every(ended)).toBe(true);
            }
            expect(state(key)).toBe("pending");
            busy.add(key);
            change(folded, { step: key, state: "running" });
          }
          expect(busy.size).toBeLessThanOrEqual(nodes > 1 ? limits.concurrency : 1);
          const victim = [...busy][pick % Math.max(1, busy.size)];
          if (victim === undefined) break;
          change(folded, { step: victim, state: good ? "done" : "failed" });
          busy.delete(victim);
          if (!good) failures++;
          if (!good && keys.indexOf(victim) < limits.canary) isCanaryBad = true;
        }
        if (failures < limits.stopAfter && !isCanaryBad) expect(keys.every(ended)).toBe(true);
      }),
    );
  });

  test("goes on with what an owner before it has begun, whatever has failed since", () => {
    const folded = foldedOf(
      created({ targets: [1, 2, 3] }),
      steps({ step: "s0", state: "running" }, { step: "s1", state: "running" }),
      steps({ step: "s1", state: "failed" }),
    );

    expect(nextGroups(folded, optionsOf({ stopAfter: 1 }), new Set()).map(({ key }) => key)).toEqual(["s0"]);
  });

  test("finishes a target of several steps that was begun, within the limit of those at a time", () => {
    const folded = foldedOf(
      created({ targets: [1, 1, 2, 2, 3, 3] }),
      steps({ step: "s0", state: "done" }, { step: "s2", state: "done" }),
    );

    const next = nextGroups(folded, optionsOf({ concurrency: 2 }), new Set());
    expect(next.map(({ key }) => key)).toEqual(["s0", "s2"]);
  });

  test("lets a step of the cluster stand alone between the targets around it", () => {
    const folded = foldedOf(created({ targets: [1, null, 2] }));
    const next = () => nextGroups(folded, optionsOf({}), new Set()).map(({ key }) => key);

    expect(next()).toEqual(["s0"]);
    change(folded, { step: "s0", state: "done" });
    expect(next()).toEqual(["s1"]);
    change(folded, { step: "s1", state: "done" });
    expect(next()).toEqual(["s2"]);
  });
});

describe("a group", () => {
  test("is the steps of one target that stand together", () => {
    const folded = foldedOf(created({ targets: [1, 1, 2, null, null, 1] }));

    expect(groupsOf(folded).map(({ steps: ids }) => ids.join("+"))).toEqual(["s0+s1", "s2", "s3", "s4", "s5"]);
  });

  test.each([
    [["done", "done"], "done"],
    [["done", "failed"], "failed"],
    [["undone", "pending"], "failed"],
    [["done", "pending"], "running"],
    [["pending", "pending"], "pending"],
    [["skipped", "skipped"], "skipped"],
  ] as const)("of steps %j is %s", (states, expected) => {
    const changes = states.map((state, i) => ({ step: `s${i}`, state }));
    const folded = foldedOf(created({ targets: [1, 1] }), steps(...changes));
    const [group] = groupsOf(folded);

    expect(group && groupState(folded, group)).toBe(expected);
  });
});
