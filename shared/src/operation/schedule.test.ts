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

type Limits = Pick<OperationOptions, "concurrency" | "canary" | "batch" | "stopAfter">;

/** Targets that are begun and end, one after the other, under the limits. */
class Rollout {
  readonly folded: Folded;
  readonly keys: readonly string[];
  readonly busy = new Set<string>();
  readonly #limits: Limits;

  constructor(nodes: number, limits: Limits) {
    this.folded = foldedOf(created({ targets: Array.from({ length: nodes }, (_, i) => i + 1) }));
    this.keys = groupsOf(this.folded).map(({ key }) => key);
    this.#limits = limits;
  }

  is(...states: string[]): (key: string) => boolean {
    return (key) => states.includes(this.folded.steps.get(key)?.state ?? "");
  }

  get failures(): number {
    return this.keys.filter(this.is("failed")).length;
  }

  /** Begins what may begin, checking every limit. */
  begin(): void {
    for (const { key } of nextGroups(this.folded, optionsOf(this.#limits), this.busy)) {
      this.#check(this.keys.indexOf(key));
      this.busy.add(key);
      change(this.folded, { step: key, state: "running" });
    }
    expect(this.busy.size).toBeLessThanOrEqual(this.keys.length > 1 ? this.#limits.concurrency : 1);
  }

  end(pick: number, good: boolean): void {
    const victim = [...this.busy][pick % Math.max(1, this.busy.size)];
    if (victim === undefined) return;
    change(this.folded, { step: victim, state: good ? "done" : "failed" });
    this.busy.delete(victim);
  }

  /** Whether nothing stands in the way of all of them. */
  get isFree(): boolean {
    const canaries = this.keys.slice(0, this.#limits.canary);
    return this.failures < this.#limits.stopAfter && !canaries.some(this.is("failed"));
  }

  #check(index: number): void {
    const { canary, batch, stopAfter } = this.#limits;
    expect(this.failures).toBeLessThan(stopAfter);
    expect(this.is("pending")(this.keys[index] ?? "")).toBe(true);
    if (index < canary) return;
    expect(this.keys.slice(0, canary).every(this.is("done"))).toBe(true);
    const begin = batch === 0 ? 0 : canary + Math.floor((index - canary) / batch) * batch;
    expect(this.keys.slice(0, begin).every(this.is("done", "failed"))).toBe(true);
  }
}

describe("the order of targets", () => {
  test("never breaks concurrency, canary, batch or the number of failures, and reaches all while none is reached", () => {
    fc.assert(
      fc.property(plans, ({ nodes, ends, ...limits }) => {
        const rollout = new Rollout(nodes, limits);
        for (const [pick, good] of [...ends, ...ends]) {
          rollout.begin();
          rollout.end(pick, good);
        }
        if (rollout.isFree) expect(rollout.keys.every(rollout.is("done", "failed"))).toBe(true);
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
