// SPDX-License-Identifier: Apache-2.0
/** An operation as it is shown: valid at every moment of its life, with progress that never runs backwards on its way. */
import { Operation, type OperationState } from "@debvisor/proto-events/durable";
import type { Lock } from "@debvisor/proto-events/operation";
import { OperationSummary, Wait } from "@debvisor/proto-events/operation";
import { describe, expect, test } from "vitest";
import { fold } from "./fold.ts";
import type { NewRecord } from "./log-record.ts";
import {
  created,
  end,
  FAILURE,
  foldedOf,
  nodeId,
  phase,
  placed,
  request,
  SAMPLE_ID,
  steps,
} from "./sample-operation.ts";
import { explainWaits, operationView, progressOf, summaryOf } from "./view.ts";

const locks: NewRecord = { t: "locks", fences: {} };
const life: NewRecord[] = [
  created({ targets: [1, 2] }),
  { t: "waiting", resource: "node/a", holder: "op-bbbbbbbbbbbbb" as never, holderActor: "bob", waits: true },
  locks,
  steps({ step: "s0", state: "running" }, { step: "s1", state: "running" }),
  steps({ step: "s0", state: "done", ms: 12 }),
  request("pause"),
  phase("paused"),
  request("continue"),
  phase("running"),
  steps({ step: "s1", state: "failed", error: FAILURE, ran: true }),
  steps({ step: "s1", state: "undoing" }),
  steps({ step: "s1", state: "undo-failed", error: FAILURE }),
  phase("stuck", "rolled-back"),
  { t: "claim", owner: "engine-2" },
  request("continue"),
  steps({ step: "s1", state: "undone" }),
  end("failed"),
  { t: "closed" },
];

function moments() {
  const log = placed(life);
  return log.flatMap((_, i) => fold(log.slice(0, i + 1)) ?? []);
}

const facts = { blockers: [], ownerAlive: true, knownHere: true, runner: undefined };

describe("the record of an operation", () => {
  test("is valid at every moment, and so is its line in a list", () => {
    for (const folded of moments()) {
      const view = operationView(folded);
      expect(Operation.parse(view)).toEqual(view);
      expect(OperationSummary.parse(summaryOf(view))).toEqual(summaryOf(view));
      for (const wait of explainWaits(folded, facts)) expect(Wait.parse(wait)).toEqual(wait);
    }
  });

  test("goes through the states in which it was", () => {
    const states = moments().map(({ state }) => state);
    const distinct = states.filter((state, i) => state !== states[i - 1]);

    expect(distinct).toEqual<OperationState[]>([
      "queued",
      "running",
      "paused",
      "running",
      "stuck",
      "undoing",
      "failed",
    ]);
  });

  test("grows in revision with every record", () => {
    const revisions = moments().map((folded) => operationView(folded).revision);

    expect(revisions).toEqual(life.map((_, i) => i + 1));
  });

  test("names the command that repairs it only while it is stuck, and its owner only while it lives", () => {
    for (const folded of moments()) {
      const view = operationView(folded);
      expect(view.repair).toBe(folded.state === "stuck" ? `dvctl operations continue ${SAMPLE_ID}` : null);
      expect(view.owner === null).toBe(folded.endedAt !== null);
    }
  });
});

describe("progress", () => {
  test("never goes back on the way forward, and is complete at the end", () => {
    const log = [
      created({ targets: [1, 2, 3, 4] }),
      locks,
      ...["s0", "s1", "s2", "s3"].flatMap((step) => [
        steps({ step, state: "running" }),
        steps({ step, state: "done" }),
      ]),
      end("succeeded"),
    ];
    const all = placed(log);
    const seen = all.map((_, i) => fold(all.slice(0, i + 1))).flatMap((folded) => (folded ? [progressOf(folded)] : []));

    const percents = seen.map(({ percent }) => percent);
    expect(percents).toEqual([...percents].sort((a, b) => a - b));
    expect(seen.at(-1)).toMatchObject({ percent: 100, done: 4, total: 4, etaSeconds: 0 });
  });

  test("tells rate and time left from what took how long", () => {
    const folded = foldedOf(
      created({ targets: [1, 2, 3, 4] }),
      locks,
      steps({ step: "s0", state: "done" }),
      steps({ step: "s1", state: "done" }),
    );

    expect(progressOf(folded)).toEqual({ percent: 50, done: 2, total: 4, ratePerMinute: 60, etaSeconds: 2 });
  });

  test("counts steps that are back while it undoes", () => {
    const undoing = foldedOf(
      created({ targets: [1, 1] }),
      locks,
      steps({ step: "s0", state: "done" }, { step: "s1", state: "failed", error: FAILURE }),
      phase("undoing", "rolled-back"),
      steps({ step: "s1", state: "undone" }),
    );

    expect(progressOf(undoing)).toMatchObject({ done: 1, total: 2 });
  });

  test("of an operation without steps is complete", () => {
    expect(progressOf(foldedOf(created({ targets: [] })))).toMatchObject({ percent: 100, total: 0 });
  });
});

describe("why an operation waits", () => {
  test("names the lock, its holder and the place in the queue", () => {
    const place = (operation: string) => ({
      operation: operation as never,
      actor: "eve",
      priority: 5,
      since: "2026-01-01T00:00:00.000Z",
    });
    const lock = {
      resource: "node/a",
      operation: "op-bbbbbbbbbbbbb",
      type: "host.put-file",
      actor: "bob",
      reason: null,
      since: "2026-01-01T00:00:00.000Z",
      expiresAt: null,
      waiting: [place("op-ccccccccccccc"), place(SAMPLE_ID)],
    } as unknown as Lock;

    const [wait] = explainWaits(foldedOf(created({ targets: [1] })), { ...facts, blockers: [lock] });

    expect(wait).toMatchObject({
      what: "the lock node/a; 1 wait before it",
      blocker: "operation op-bbbbbbbbbbbbb (host.put-file)",
      holder: "bob",
    });
  });

  test("names node, error and next attempt of a step that is tried again", () => {
    const folded = foldedOf(created({ targets: [1] }), locks, steps({ step: "s0", state: "running" }));
    const retrying = new Map([["s0", { error: FAILURE, nextAtMs: Date.parse("2026-01-01T00:00:09.000Z") }]]);

    const [wait] = explainWaits(folded, { ...facts, runner: { retrying } });

    expect(wait).toMatchObject({ blocker: "node node-1: the disk is full", nextTryAt: "2026-01-01T00:00:09.000Z" });
  });

  test("tells an owner that is gone from software that is missing", () => {
    const folded = foldedOf(created({ targets: [1] }), locks);
    const why = (more: object) => explainWaits(folded, { ...facts, ownerAlive: false, ...more }).at(-1);

    expect(why({})).toMatchObject({ what: "an instance that adopts it", blocker: "its owner engine-1 is gone" });
    expect(why({ knownHere: false })?.unblocks).toBe("a server whose software knows test.write-lines version 1");
  });

  test("is nothing once it is closed, and the trail while it has only ended", () => {
    const ended = [created({ targets: [1] }), locks, end("succeeded")];

    expect(explainWaits(foldedOf(...ended), facts)).toMatchObject([{ blocker: "the message bus" }]);
    expect(explainWaits(foldedOf(...ended, { t: "closed" }), facts)).toEqual([]);
    expect(nodeId(1)).not.toBe(nodeId(2));
  });
});
