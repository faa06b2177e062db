// SPDX-License-Identifier: Apache-2.0
/** What becomes of a definition's draft: digests, samples, limits for each failure domain. */
import { OperationOptions, type PlannedTarget } from "@debvisor/proto-events/durable";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Draft } from "./definition.ts";
import { checkBlastRadius, completePlan as complete, requireChecks, requireDigest, stableJson } from "./planning.ts";
import { nodeId, SAMPLE_KINDS } from "./sample-operation.ts";

function draft(nodes: number, more: Partial<Draft> = {}, zone: (n: number) => string | null = () => null): Draft {
  const numbers = Array.from({ length: nodes }, (_, i) => i + 1);
  return {
    targets: numbers.map((n) => ({ id: nodeId(n), name: `node-${n}`, zone: zone(n), state: "change" as const })),
    steps: numbers.map((n) => ({
      id: `s${n}`,
      kind: "line",
      title: "t",
      target: nodeId(n),
      params: { n },
      resource: null,
    })),
    effects: numbers.map((n) => ({ target: `node-${n}`, what: "file", before: "a", after: "b", diff: null })),
    checks: [],
    resources: [],
    undo: "rollback",
    basis: { path: "/etc/motd", states: [1, 2] },
    ...more,
  };
}

const completePlan = (one: Draft, how: OperationOptions) => complete(one, how, SAMPLE_KINDS);
const options = (more: Record<string, unknown> = {}) => OperationOptions.parse(more);
const chosen = ({ targets }: { targets: readonly PlannedTarget[] }) =>
  targets.filter(({ state }) => state === "change").map(({ name }) => name);

/** The same value with the keys of its objects in another order. */
function shuffled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shuffled);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, item]) => [key, shuffled(item)]),
  );
}

describe("the digest of a plan", () => {
  test("does not depend on the order of keys", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (basis) => {
        expect(stableJson(shuffled(basis))).toBe(stableJson(basis));
        const digest = (value: unknown) => completePlan(draft(2, { basis: value }), options()).plan.digest;
        expect(digest(shuffled(basis))).toBe(digest(basis));
      }),
    );
  });

  test("changes with what was read, with the steps and with the targets, and not with the diff that is shown", () => {
    const digest = (one: Draft) => completePlan(one, options()).plan.digest;
    const effects = draft(2).effects.map((effect) => ({ ...effect, diff: "+ line" }));

    expect(digest(draft(2, { basis: { path: "/etc/motd", states: [1, 3] } }))).not.toBe(digest(draft(2)));
    expect(digest(draft(3))).not.toBe(digest(draft(2)));
    expect(digest(draft(2, { effects }))).toBe(digest(draft(2)));
  });

  test("refuses to apply a plan that is not the one that was looked at", () => {
    const { plan } = completePlan(draft(1), options());

    expect(() => requireDigest(plan, plan.digest)).not.toThrow();
    expect(() => requireDigest(plan, undefined)).not.toThrow();
    expect(() => requireDigest(plan, "0".repeat(64))).toThrow(expect.objectContaining({ code: "PLAN_STALE" }));
  });
});

describe("a sample of the targets", () => {
  test("is the same for the same seed, in whatever order the targets come, and never larger than asked", () => {
    const shapes = fc.tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 30 }), fc.nat(1_000));
    fc.assert(
      fc.property(shapes, ([nodes, sample, seed]) => {
        const one = draft(nodes);
        const plan = completePlan(one, options({ sample, seed })).plan;
        const turned = completePlan({ ...one, targets: [...one.targets].reverse() }, options({ sample, seed })).plan;
        expect(chosen(plan)).toHaveLength(Math.min(sample, nodes));
        expect(new Set(chosen(turned))).toEqual(new Set(chosen(plan)));
        expect(plan.steps.map(({ target }) => target)).toEqual(chosen(plan));
        expect(plan.effects.map(({ target }) => target)).toEqual(chosen(plan));
      }),
    );
  });

  test("differs between seeds, and keeps a target that it took when others are added", () => {
    const of = (nodes: number, seed: number) =>
      new Set(chosen(completePlan(draft(nodes), options({ sample: 5, seed })).plan));
    const samples = new Set(Array.from({ length: 20 }, (_, seed) => [...of(30, seed)].sort().join()));

    expect(samples.size).toBeGreaterThan(15);
    const more = of(31, 1);
    expect([...of(30, 1)].filter((name) => more.has(name)).length).toBeGreaterThanOrEqual(4);
  });
});

describe("the limit for a failure domain", () => {
  test("counts what would change in each zone, and nodes without zone together", () => {
    const zones = fc.array(fc.constantFrom("a", "b", null), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(zones, fc.integer({ min: 1, max: 4 }), (list, most) => {
        const { plan } = completePlan(
          draft(list.length, {}, (n) => list[n - 1] ?? null),
          options(),
        );
        const largest = Math.max(...["a", "b", null].map((zone) => list.filter((one) => one === zone).length));
        const check = () => checkBlastRadius(plan, most, undefined);
        if (largest > most) expect(check).toThrow(expect.objectContaining({ code: "BLAST_RADIUS_EXCEEDED" }));
        else expect(check).not.toThrow();
        expect(() => checkBlastRadius(plan, most, "kernel update")).not.toThrow();
        expect(() => checkBlastRadius(plan, undefined, undefined)).not.toThrow();
      }),
    );
  });

  test("leaves out what is not touched", () => {
    const one = draft(3);
    const targets = one.targets.map((target, i) => (i === 0 ? target : { ...target, state: "unchanged" as const }));
    const { plan } = completePlan({ ...one, targets }, options());

    expect(() => checkBlastRadius(plan, 1, undefined)).not.toThrow();
  });
});

describe("a plan", () => {
  test("names every prerequisite that is not met, the first one in the message", () => {
    const check = (id: string, status: "passed" | "failed" | "warned") => ({
      id,
      target: "node-1",
      status,
      message: `${id} is missing`,
      hint: "get it",
    });
    const { plan } = completePlan(
      draft(1, { checks: [check("a", "passed"), check("b", "failed"), check("c", "failed"), check("d", "warned")] }),
      options(),
    );

    expect(() => requireChecks(plan)).toThrow(/node-1: b is missing \(and 1 more\)/);
    expect(() =>
      requireChecks(completePlan(draft(1, { checks: [check("d", "warned")] }), options()).plan),
    ).not.toThrow();
  });

  test("that contradicts itself is a mistake of its author", () => {
    const [step] = draft(1).steps;
    const twice = step ? [step, step] : [];
    const stray = step ? [{ ...step, resource: "node/x/file" }] : [];

    for (const steps of [twice, stray])
      expect(() => completePlan(draft(1, { steps }), options())).toThrow(expect.objectContaining({ code: "INTERNAL" }));
  });
});
