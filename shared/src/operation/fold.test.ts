// SPDX-License-Identifier: Apache-2.0
/** What a log of an operation means, whatever its length. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { apply, fold } from "./fold.ts";
import type { NewRecord } from "./log-record.ts";
import { foldEntries, parseEntry } from "./operation-log.ts";
import { created, end, FAILURE, foldedOf, phase, placed, request, SAMPLE_ID, steps } from "./sample-operation.ts";

const running = (step: string) => steps({ step, state: "running" });
const done = (step: string) => steps({ step, state: "done", answer: { ok: true }, ms: 3 });
const locks: NewRecord = { t: "locks", fences: { "node/a": 7 } };
const claim: NewRecord = { t: "claim", owner: "engine-2" };
const waiting: NewRecord = {
  t: "waiting",
  resource: "node/a",
  holder: "op-bbbbbbbbbbbbb" as never,
  holderActor: "bob",
  waits: true,
};

/** A log as an engine may write it: any mix of what can follow the first record. */
const logs = fc
  .array(
    fc.constantFrom<NewRecord>(
      locks,
      claim,
      waiting,
      running("s0"),
      done("s0"),
      steps({ step: "s1", state: "failed", error: FAILURE, ran: false }),
      steps({ step: "s0", state: "undoing" }),
      steps({ step: "s0", state: "undone" }),
      steps({ step: "s0", state: "undo-failed", error: FAILURE }),
      phase("paused"),
      phase("running"),
      phase("undoing", "rolled-back"),
      phase("stuck"),
      request("cancel"),
      request("pause"),
      request("continue"),
      end("succeeded"),
      { t: "closed" },
      request("rollback"),
    ),
    { maxLength: 25 },
  )
  .map((rest) => placed([created({ targets: [1, 1] }), ...rest]));

describe("folding a log", () => {
  test("works for every prefix, and gives the same whether read at once or record by record", () => {
    fc.assert(
      fc.property(logs, (log) => {
        const [first] = log;
        const step = fold(first ? [first] : []);
        for (const [i, record] of log.entries()) {
          if (step && i > 0) apply(step, record);
          expect(fold(log.slice(0, i + 1))).toEqual(step);
          expect(step?.seq).toBe(record.seq);
        }
      }),
    );
  });

  test("never changes the records that it is made from", () => {
    fc.assert(
      fc.property(logs, (log) => {
        const before = JSON.stringify(log);
        fold(log);
        expect(JSON.stringify(log)).toBe(before);
      }),
    );
  });

  test("knows nothing of a log that does not begin with what was asked for", () => {
    expect(fold([])).toBeUndefined();
    expect(fold(placed([locks]))).toBeUndefined();
  });

  test("counts attempts, and keeps why a step failed while and after it is undone", () => {
    const log = foldedOf(
      created({ targets: [1] }),
      locks,
      running("s0"),
      steps({ step: "s0", state: "failed", error: FAILURE, ran: true }),
      steps({ step: "s0", state: "undoing" }),
      steps({ step: "s0", state: "undone", ms: 4 }),
    );

    expect(log.steps.get("s0")).toMatchObject({ state: "undone", attempts: 2, ran: true, error: FAILURE, ms: 4 });
  });

  test("takes a step that began as one that may have had an effect, until it is known that it had none", () => {
    const begun = foldedOf(created({ targets: [1] }), locks, running("s0"));
    const refused = foldedOf(
      created({ targets: [1] }),
      running("s0"),
      steps({ step: "s0", state: "failed", ran: false }),
    );

    expect(begun.steps.get("s0")?.ran).toBe(true);
    expect(refused.steps.get("s0")?.ran).toBe(false);
  });

  test("makes an ended operation live again backwards, with its old fences void", () => {
    const log = foldedOf(
      created({ targets: [1] }),
      locks,
      running("s0"),
      done("s0"),
      end("succeeded"),
      { t: "closed" },
      request("rollback"),
    );

    expect(log).toMatchObject({
      state: "queued",
      undoing: true,
      endAfterUndo: "rolled-back",
      closed: false,
      fences: {},
    });
    expect(log.steps.get("s0")?.answer).toEqual({ ok: true });
  });

  test("says since when it waits, however often the holder changes", () => {
    const log = foldedOf(created({ targets: [1] }), waiting, { ...waiting, holder: "op-ccccccccccccc" as never });

    expect(log.waiting).toMatchObject({ holder: "op-ccccccccccccc", since: "2026-01-01T00:00:01.000Z" });
  });
});

describe("a log of another version", () => {
  const entry = (record: unknown, seq: number) => ({ key: SAMPLE_ID, seq, timeMs: 0, text: JSON.stringify(record) });
  const [first] = placed([created({ targets: [1] })]);

  test("is left alone as a whole when one of its records is not known here", () => {
    const unknown = { t: "teleported", v: 1, rid: "f".repeat(32), epoch: 1, at: "2026-01-01T00:00:00.000Z" };

    expect(parseEntry(entry(unknown, 2))).toBeUndefined();
    expect(foldEntries([entry(first?.record, 1)])?.created.operation).toBe(SAMPLE_ID);
    expect(foldEntries([entry(first?.record, 1), entry(unknown, 2)])).toBeUndefined();
    expect(foldEntries([entry(first?.record, 1), { key: SAMPLE_ID, seq: 2, timeMs: 0, text: "{" }])).toBeUndefined();
  });

  test("is read in spite of fields that are new", () => {
    const more = { ...first?.record, colour: "blue" };

    expect(foldEntries([entry(more, 1)])?.created.operation).toBe(SAMPLE_ID);
  });
});
