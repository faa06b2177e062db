// SPDX-License-Identifier: Apache-2.0
/** The order of granting, and the picture of the locks, for any history of changes. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LockPicture } from "./lock-picture.ts";
import { compareWaiters, dequeue, enqueue, type Waiter, waiterOf } from "./lock-queue.ts";
import { held, type LockRecord, lockKey, waiterKey, waits } from "./lock-records.ts";

const SINCE = "2026-11-20T12:00:00.000Z";
const LETTERS = "abcdefghijklmnopqrstuvwxyz";

function asker(number: number, priority = 0) {
  const operation = `op-aaaaaaaaaaaa${LETTERS[number % 26]}`;
  return { operation, type: "host.restart-unit", actor: "ann", reason: null, priority, expiresAt: null };
}

function waiter(number: number, priority: number, revision: number): Waiter {
  const record = waits("node/a", asker(number, priority), SINCE);
  return waiterOf(waiterKey("node/a", record.operation), revision, record);
}

describe("a queue", () => {
  const someWaiters = fc
    .uniqueArray(fc.record({ number: fc.nat({ max: 25 }), priority: fc.integer({ min: -3, max: 3 }) }), {
      selector: ({ number }) => number,
    })
    .map((list) => list.map(({ number, priority }, index) => waiter(number, priority, index + 1)));

  test("has the highest priority first and, among equals, whoever asked first, in whatever order they are seen", () => {
    const seen = someWaiters.chain((list) => fc.shuffledSubarray(list, { minLength: list.length }));
    fc.assert(
      fc.property(seen, (list) => {
        const queue: Waiter[] = [];
        for (const one of list) enqueue(queue, one);

        expect(queue).toHaveLength(list.length);
        for (const [index, one] of queue.entries()) {
          const before = queue[index - 1];
          if (!before) continue;
          const sooner = before.record.priority === one.record.priority && before.revision < one.revision;
          expect(before.record.priority > one.record.priority || sooner).toBe(true);
        }
      }),
    );
  });

  test("keeps its order when some leave", () => {
    fc.assert(
      fc.property(someWaiters, fc.array(fc.nat({ max: 25 })), (list, leaving) => {
        const queue: Waiter[] = [];
        for (const one of list) enqueue(queue, one);
        const gone = new Set(leaving.map((number) => asker(number).operation));
        for (const operation of gone) dequeue(queue, operation);

        expect(queue).toEqual(list.filter(({ record }) => !gone.has(record.operation)).sort(compareWaiters));
      }),
    );
  });
});

describe("the picture", () => {
  const change = fc.record({
    what: fc.constantFrom("held", "waits", "free", "left"),
    number: fc.nat({ max: 4 }),
    priority: fc.nat({ max: 2 }),
    resource: fc.constantFrom("node/a", "node/b"),
  });

  function entry({ what, number, priority, resource }: typeof change extends fc.Arbitrary<infer T> ? T : never): {
    key: string;
    record: LockRecord;
  } {
    const who = asker(number, priority);
    const key = what === "held" || what === "free" ? lockKey(resource) : waiterKey(resource, who.operation);
    if (what === "held") return { key, record: held(resource, who, SINCE, null) };
    if (what === "waits") return { key, record: waits(resource, who, SINCE) };
    return { key, record: { kind: "gone", resource } };
  }

  test("is not changed by what it has seen already or by what is older", () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), fc.infiniteStream(fc.nat()), (changes, repeats) => {
        const once = new LockPicture();
        const again = new LockPicture();
        for (const [index, { key, record }] of changes.map(entry).entries()) {
          once.apply(key, index + 1, record);
          again.apply(key, index + 1, record);
          const old = (repeats.next().value ?? 0) % (index + 1);
          const repeated = changes[old];
          if (repeated) again.apply(entry(repeated).key, old + 1, entry(repeated).record);
        }

        expect(again.list()).toEqual(once.list());
        expect(again.operations()).toEqual(once.operations());
        expect(again.unclaimed()).toEqual(once.unclaimed());
      }),
    );
  });

  test("never shows a holder in its own queue, and indexes exactly what is there", () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
        const picture = new LockPicture();
        for (const [index, { key, record }] of changes.map(entry).entries()) picture.apply(key, index + 1, record);

        for (const lock of picture.list()) {
          expect(lock.waiting.map(({ operation }) => operation)).not.toContain(lock.operation);
          expect(picture.heldBy(lock.operation)).toContain(lock.resource);
          for (const { operation } of lock.waiting) expect(picture.waitsOf(operation)).toContain(lock.resource);
        }
        const held = picture.operations().holders.flatMap((operation) => picture.heldBy(operation));
        expect(held.sort()).toEqual(picture.list().map(({ resource }) => resource));
      }),
    );
  });

  test("keeps nothing of what is over once its mark has expired", () => {
    const picture = new LockPicture();
    const key = lockKey("node/a");
    picture.apply(key, 1, held("node/a", asker(1), SINCE, null));
    picture.apply(key, 2, { kind: "gone", resource: "node/a" });
    expect(picture.revision(key)).toBe(2);

    picture.apply(key, 3, undefined);

    expect(picture.revision(key)).toBeUndefined();
    expect(picture.operations()).toEqual({ holders: [], waiters: [] });
  });
});

test("a key is safe and short whatever the resource is called", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 2_000 }), (resource) => {
      expect(lockKey(resource)).toMatch(/^lock\.[0-9a-f]{40}$/);
      expect(waiterKey(resource, resource)).toMatch(/^wait\.[0-9a-f]{40}\.[0-9a-f]{40}$/);
    }),
  );
});
