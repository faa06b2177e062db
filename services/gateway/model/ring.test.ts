// SPDX-License-Identifier: Apache-2.0
/** The ring against a plain array. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Ring, type Sequenced } from "./ring.ts";

describe("a ring", () => {
  it("holds what an array that is cut at the front would hold", () => {
    const step = fc.record({ skip: fc.integer({ min: 1, max: 3 }), bytes: fc.integer({ min: 1, max: 60 }) });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 20, max: 200 }),
        fc.array(step, { maxLength: 60 }),
        (maxEntries, maxBytes, steps) => {
          const ring = new Ring<Sequenced>(maxEntries, maxBytes);
          let model: Sequenced[] = [];
          let seq = 0;
          for (const { skip, bytes } of steps) {
            seq += skip;
            const entry = { seq, timeMs: seq * 10, bytes };
            ring.push(entry);
            model.push(entry);
            while (
              model.length > 1 &&
              (model.length > maxEntries || model.reduce((sum, each) => sum + each.bytes, 0) > maxBytes)
            )
              model = model.slice(1);
            expect([ring.size, ring.first, ring.last]).toEqual([model.length, model[0], model.at(-1)]);
            for (const at of [0, seq - 2, seq]) {
              expect(ring.after(at, 100)).toEqual(model.filter((each) => each.seq > at));
              expect(ring.atOrAfter(at * 10)).toBe(model.find((each) => each.timeMs >= at * 10));
            }
          }
        },
      ),
    );
  });

  it("walks backwards until told to stop", () => {
    const ring = new Ring<Sequenced>(3, 1_000);
    for (const seq of [1, 2, 3, 4]) ring.push({ seq, timeMs: seq, bytes: 1 });
    const seen: number[] = [];
    ring.backwards(({ seq }) => seen.push(seq) < 2);
    expect(seen).toEqual([4, 3]);
    ring.clear();
    expect([ring.size, ring.bytes]).toEqual([0, 0]);
  });
});
