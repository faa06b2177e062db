// SPDX-License-Identifier: Apache-2.0
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { judgeReplicas, type LookState, type Looks, type ReplicaState, type StreamHabits } from "./replica-health.ts";
import { decideRebuild } from "./replica-rebuild.ts";

const SERVERS = ["a-1", "b-1", "c-1"];
const DAY_MS = 86_400_000;
const AT = 1_800_000_000_000;
const LOG: StreamHabits = { appendOnly: true, maxAgeMs: 0, ttl: false };
const BUCKET: StreamHabits = { appendOnly: false, maxAgeMs: 0, ttl: false };

interface Counters {
  readonly first?: number;
  readonly last?: number;
  readonly messages?: number;
  readonly deleted?: number;
  readonly firstAt?: number;
}

function replica(server: string, counters: Counters = {}): ReplicaState {
  const { first = 1, last = 100, firstAt = AT - 1_000 } = counters;
  const { deleted = 0 } = counters;
  const messages = counters.messages ?? last - first + 1 - deleted;
  const times = { firstAt: messages === 0 ? undefined : firstAt, lastAt: messages === 0 ? undefined : AT - 500 };
  return { server, stream: "S", messages, first, last, deleted, ...times, leader: "a-1", peers: SERVERS };
}

/** A look in which every server has the same counters, those named aside. `null`: the server does not answer. */
function look(odd: Record<string, Counters | null> = {}, all: Counters = {}, at = AT): LookState {
  const there = SERVERS.filter((server) => odd[server] !== null);
  const replicas = there.map((server) => replica(server, { ...all, ...odd[server] }));
  return { at, servers: SERVERS, answered: new Map(there.map((server) => [server, undefined])), replicas };
}

const steady = (odd: Record<string, Counters | null>): Looks => ({
  earlier: look(odd),
  before: look(odd),
  now: look(odd),
});

function verdicts(looks: Looks, habits = LOG, damaged: readonly string[] = []): string[] {
  const judged = judgeReplicas(
    looks,
    () => habits,
    new Map([["S", { damaged: damaged.map((server) => ({ server })), unclear: 0 }]]),
  );
  return judged.map(({ server, verdict }) => `${server} ${verdict}`);
}

describe("a replica is", () => {
  test("good when all have the same", () => {
    expect(verdicts(steady({}))).toEqual(["a-1 good", "b-1 good", "c-1 good"]);
  });

  test("holed when it lacks messages in between, however current it is called", () => {
    expect(verdicts(steady({ "b-1": { deleted: 3 } }))).toEqual(["a-1 good", "b-1 holes", "c-1 good"]);
  });

  test("good when only one with holes stands where it stands, and the third has not come so far", () => {
    const holes = { last: 111, deleted: 30 };
    const looks = {
      earlier: look({ "b-1": { deleted: 30 } }),
      before: look({ "a-1": { last: 111 }, "b-1": holes, "c-1": { last: 104 } }),
      now: look({ "a-1": { last: 111 }, "b-1": holes, "c-1": { last: 108 } }),
    };

    expect(verdicts(looks)).toEqual(["a-1 good", "b-1 holes", "c-1 behind"]);
  });

  test("not holed by what one look alone says, nor in a bucket, where keys are overwritten", () => {
    const once: Looks = { earlier: look(), before: look({ "b-1": { deleted: 3 } }), now: look() };
    expect(verdicts(once)).toEqual(["a-1 good", "b-1 good", "c-1 good"]);
    expect(verdicts(steady({ "a-1": { deleted: 3 }, "b-1": { deleted: 3 }, "c-1": { deleted: 3 } }), BUCKET)).toEqual([
      "a-1 good",
      "b-1 good",
      "c-1 good",
    ]);
  });

  test("short when it begins later than the others, or is empty", () => {
    expect(verdicts(steady({ "c-1": { first: 40 } }))).toContain("c-1 short");
    expect(verdicts(steady({ "c-1": { first: 101, messages: 0 } }))).toContain("c-1 short");
  });

  test("not short when messages of that age expire: clocks of servers differ", () => {
    const looks = steady({ "c-1": { first: 40, firstAt: AT - 7 * DAY_MS + 60_000 } });
    expect(verdicts(looks, { ...LOG, maxAgeMs: 7 * DAY_MS })).toContain("c-1 good");
    expect(verdicts(looks)).toContain("c-1 short");
  });

  test("short when a bucket at the same place has fewer keys than two others that agree", () => {
    const odd = { "b-1": { deleted: 9 } };
    expect(verdicts(steady(odd), BUCKET)).toEqual(["a-1 good", "b-1 short", "c-1 good"]);
    expect(verdicts(steady(odd), { ...BUCKET, ttl: true })).toContain("b-1 good");
  });

  test("behind while it catches up, and stalled when it gets nothing for a minute", () => {
    const behind = (last: number): Record<string, Counters> => ({ "c-1": { last } });
    const catching: Looks = { earlier: look(behind(10)), before: look(behind(20)), now: look(behind(30)) };
    expect(verdicts(catching)).toContain("c-1 behind");
    expect(verdicts(steady(behind(10)))).toContain("c-1 stalled");
    expect(verdicts({ before: look(behind(10)), now: look(behind(10)) })).toContain("c-1 behind");
  });

  test("damaged when reading it said so", () => {
    expect(verdicts(steady({}), LOG, ["b-1"])).toContain("b-1 damaged");
  });

  test("silent when its server does not answer, unhealthy after a minute of that, or of saying so itself", () => {
    const away = look({ "c-1": null });
    expect(verdicts({ earlier: look(), before: away, now: away })).toContain("c-1 silent");
    expect(verdicts({ before: away, now: away })).toContain("c-1 silent");
    expect(verdicts(steady({ "c-1": null }))).toContain("c-1 unhealthy");
    const ill = {
      ...look(),
      answered: new Map([...SERVERS.map((name) => [name, undefined] as const), ["b-1", "corrupt"]]),
    };
    expect(verdicts({ earlier: ill, before: ill, now: ill })).toContain("b-1 unhealthy");
    expect(verdicts({ before: ill, now: ill })).toContain("b-1 good");
  });

  test("never suspect while messages are written, wherever each server is when it is asked", () => {
    const progress = fc.array(fc.nat(50), { minLength: 9, maxLength: 9 });
    fc.assert(
      fc.property(progress, fc.nat(1_000), (steps, start) => {
        // Each server is somewhere between what all had at the look before and what is written at this one.
        const at = (index: number): LookState => {
          const base = start + index * 50;
          const of = (place: number) => ({ last: base + (steps[index * 3 + place] ?? 0) });
          return look({ "a-1": of(0), "b-1": of(1), "c-1": of(2) });
        };
        const looks: Looks = { earlier: at(0), before: at(1), now: at(2) };
        for (const habits of [LOG, BUCKET])
          expect(verdicts(looks, habits).filter((one) => !one.endsWith("good"))).toEqual([]);
      }),
    );
  });
});

describe("a rebuild", () => {
  const decide = (
    odd: Record<string, Counters | null>,
    damaged: readonly string[] = [],
    recent?: ReadonlySet<string>,
  ) => {
    const looks = steady(odd);
    return decideRebuild(
      judgeReplicas(looks, () => LOG, new Map([["S", { damaged: damaged.map((server) => ({ server })), unclear: 0 }]])),
      looks.now,
      recent,
    );
  };

  test("is done of one bad replica with two good ones", () => {
    expect(decide({ "b-1": { deleted: 3 } })).toEqual({ plan: { server: "b-1", streams: ["S"] }, refused: [] });
    expect(decide({}, ["c-1"]).plan).toEqual({ server: "c-1", streams: ["S"] });
  });

  test("is refused when the good copy is not evident", () => {
    expect(decide({ "b-1": { deleted: 3 }, "c-1": { deleted: 3 } }).plan).toBeUndefined();
    expect(decide({ "b-1": { deleted: 3 } }, ["c-1"]).refused.map(({ server }) => server)).toEqual(["b-1", "c-1"]);
    expect(decide({ "a-1": { deleted: 1 }, "b-1": { deleted: 1 }, "c-1": { deleted: 1 } }).plan).toBeUndefined();
  });

  test("is refused when it would cost the majority: another server is away or not well", () => {
    expect(decide({ "b-1": { deleted: 3 }, "c-1": null }).plan).toBeUndefined();
    expect(decide({ "b-1": { deleted: 3 }, "c-1": { last: 50 } }).plan).toBeUndefined();
    const looks = steady({ "b-1": { deleted: 3 } });
    const ill = { ...looks.now, answered: new Map([...looks.now.answered, ["c-1", "meta is not current"]]) };
    expect(
      decideRebuild(
        judgeReplicas(looks, () => LOG),
        ill,
      ).plan,
    ).toBeUndefined();
  });

  test("is refused when another stream on that server would be left without a majority", () => {
    const judged = judgeReplicas(steady({ "b-1": { deleted: 3 } }), () => LOG);
    const other = judged.map((one) => ({
      ...one,
      stream: "T",
      verdict: one.server === "c-1" ? ("stalled" as const) : ("good" as const),
    }));
    expect(decideRebuild([...judged, ...other], look()).refused).toContainEqual(
      expect.objectContaining({ server: "b-1", stream: "S" }),
    );
  });

  test("is not tried again at once, and of two bad servers one is first", () => {
    expect(decide({ "b-1": { deleted: 3 } }, [], new Set(["b-1 S"])).plan).toBeUndefined();
    const judged = judgeReplicas(steady({ "b-1": { deleted: 3 } }), () => LOG);
    const swapped = { "a-1": "a-1", "b-1": "c-1", "c-1": "b-1" } as Record<string, string>;
    const other = judged.map((one) => ({ ...one, stream: "T", server: swapped[one.server] ?? one.server }));
    expect(decideRebuild([...judged, ...other], look()).plan).toEqual({ server: "b-1", streams: ["S"] });
  });
});
