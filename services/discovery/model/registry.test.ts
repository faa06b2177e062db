// SPDX-License-Identifier: Apache-2.0
/** The registry's decisions: single rules, and a model that any sequence of commands must follow. */
import type { Heartbeat } from "@debvisor/proto-events/node-agent";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  isNewer,
  type Live,
  type NodeRecord,
  nameOwners,
  type Outcome,
  project,
  readHeartbeat,
  register,
  remove,
  toNode,
  type View,
  withMark,
} from "./registry.ts";

const SUSPECT_MS = 6_000;
const LOST_MS = 15_000;
const IDS = ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc"] as const;
const A = IDS[0];

function heartbeat(node: string, more: Partial<Heartbeat> = {}): Heartbeat {
  const metrics = { overall: "ok" as const, load1: 1, cpuPercent: 1, memoryPercent: 1, diskPercent: 1, busRttMs: 1 };
  const rest = { roles: ["worker"], version: "1", addresses: ["10.0.0.1"], bootId: "boot", sequence: 1 };
  return { node, name: `n-${node.slice(0, 2)}`, time: at(0), metrics, ...rest, ...more };
}

function at(ms: number): string {
  return new Date(Date.UTC(2026, 0, 1) + ms).toISOString();
}

function live(node: string, heardAt: number, more: Partial<Heartbeat> = {}): Live {
  return { heardAt, at: at(heardAt), heartbeat: heartbeat(node, more) };
}

function view(now: number, more: Partial<View> = {}): View {
  const limits = { suspectAfterMs: SUSPECT_MS, lostAfterMs: LOST_MS };
  return { now, time: at(now), listeningSince: 0, ownerOf: () => undefined, ...limits, ...more };
}

function record(more: Partial<NodeRecord> = {}): NodeRecord {
  const outcome = project(undefined, live(A, 0), view(0));
  if (!outcome) throw new Error("the first heartbeat enters a node");
  return { ...outcome.record, ...more };
}

const events = (outcome: Outcome | undefined) => outcome?.facts.map(({ event }) => event) ?? [];

test("the first heartbeat enters a node, the next ones write nothing", () => {
  const outcome = project(undefined, live(A, 0), view(0));

  expect(events(outcome)).toEqual(["node.appeared"]);
  expect(project(outcome?.record, live(A, 2_000), view(2_000))).toBeUndefined();
});

test("silence makes a node suspect, then lost, and a heartbeat brings it back", () => {
  const heard = live(A, 0);
  expect(project(record(), heard, view(SUSPECT_MS))).toBeUndefined();
  const suspect = project(record(), heard, view(SUSPECT_MS + 1));
  expect(events(suspect)).toEqual(["node.suspected"]);
  expect(project(suspect?.record, heard, view(LOST_MS))).toBeUndefined();
  const lost = project(suspect?.record, heard, view(LOST_MS + 1));
  expect(events(lost)).toEqual(["node.lost"]);
  expect(lost?.facts[0]?.payload).toMatchObject({ silentMs: LOST_MS + 1, lastSeen: at(0) });
  const back = project(lost?.record, live(A, 20_000), view(20_000));
  expect(events(back)).toEqual(["node.returned"]);
  expect(back?.facts[0]?.payload).toMatchObject({ silentMs: 20_000 });
  expect(back?.record.lastSeen).toBe(at(20_000));
});

test("a node that was away for long is suspect for one round before it is lost", () => {
  expect(events(project(record(), live(A, 0), view(90_000)))).toEqual(["node.suspected"]);
});

test("a registry that has just begun to listen holds nobody's silence against him", () => {
  const fresh = { listeningSince: 100_000 };

  expect(project(record(), undefined, view(100_000 + SUSPECT_MS, fresh))).toBeUndefined();
  expect(project(record({ state: "suspect" }), undefined, view(100_000 + LOST_MS, fresh))).toBeUndefined();
  expect(events(project(record(), undefined, view(100_000 + SUSPECT_MS + 1, fresh)))).toEqual(["node.suspected"]);
});

test("a changed identity is written and announced with what changed", () => {
  const outcome = project(record(), live(A, 0, { version: "2", bootId: "other" }), view(0));

  expect(events(outcome)).toEqual(["node.updated"]);
  expect(outcome?.facts[0]?.payload["changed"]).toEqual(["version", "bootId"]);
  expect(project(record(), live(A, 0, { addresses: ["10.0.0.1"] }), view(0))).toBeUndefined();
});

test("the second node of a name gets part of its id appended", () => {
  const ownerOf = (name: string) => (name === "web" ? IDS[1] : undefined);

  expect(project(undefined, live(A, 0, { name: "web" }), view(0, { ownerOf }))?.record.name).toBe("web-aaaa");
  expect(project(undefined, live(A, 0, { name: "all" }), view(0))?.record.name).toBe("all-aaaa");
  expect(project(undefined, live(A, 0, { name: "web" }), view(0, { ownerOf: () => IDS[1] }))?.record.name).toBe(
    `node-${A}`,
  );
});

test("of two owners of a name the one that was registered first keeps it", () => {
  const older = record({ id: IDS[1], name: "web", registeredAt: at(0) });
  const younger = record({ id: IDS[0], name: "web", registeredAt: at(5) });

  expect(nameOwners([younger, older]).get("web")).toBe(IDS[1]);
  expect(nameOwners([{ ...older, deleted: true }, younger]).get("web")).toBe(IDS[0]);
});

test("a disabled node stays disabled whatever its heartbeats do", () => {
  const outcome = withMark(record(), { reason: "r", actor: "a", at: at(0) }, undefined, view(0));
  expect(events(outcome)).toEqual(["node.disabled"]);
  const disabled = outcome?.record as NodeRecord;

  expect(project(disabled, live(A, 0), view(0))).toBeUndefined();
  expect(project(disabled, live(A, 0), view(90_000))).toBeUndefined();
  expect(withMark(disabled, null, live(A, 0), view(1)).record.state).toBe("alive");
  expect(withMark(disabled, null, live(A, 0), view(90_000)).record.state).toBe("suspect");
});

test("a node that is heard, or of which it is too early to tell, is not deleted", () => {
  const lost = record({ state: "lost" });

  expect(remove(record(), live(A, 0), view(1), "r")).toBe("alive");
  expect(remove(record({ state: "suspect" }), undefined, view(90_000), "r")).toBe("alive");
  expect(remove(lost, live(A, 90_000), view(90_001), "r")).toBe("alive");
  expect(remove(lost, undefined, view(1, { listeningSince: 0 }), "r")).toBe("unknown");
  expect(remove(record({ state: "disabled" }), undefined, view(90_000), "r")).toMatchObject({
    record: { deleted: true },
  });
});

test("a node entered by hand is lost until its first heartbeat, which makes it appear", () => {
  const wanted = { id: A, name: "web", addresses: [], rack: "r1", zone: null, version: "unknown", roles: ["worker"] };
  const entered = register(undefined, wanted, view(0)) as Outcome;
  expect(entered.record).toMatchObject({ state: "lost", lastSeen: null });
  expect(events(entered)).toEqual(["node.registered"]);

  expect(register(entered.record, wanted, view(0))).toBeUndefined();
  expect(register(undefined, wanted, view(0, { ownerOf: () => IDS[1] }))).toBe("taken");
  const appeared = project(entered.record, live(A, 0), view(0));
  expect(events(appeared)).toEqual(["node.appeared"]);
  expect(appeared?.record).toMatchObject({ rack: "r1", name: "n-aa", state: "alive" });
});

test("heartbeats count for their sender only, and only newer ones", () => {
  expect(readHeartbeat(A, heartbeat(A))).toBeDefined();
  expect(readHeartbeat(IDS[1], heartbeat(A))).toBeUndefined();
  expect(readHeartbeat(A, { node: A })).toBeUndefined();
  expect(isNewer(heartbeat(A, { sequence: 1 }), live(A, 0, { sequence: 1 }))).toBe(false);
  expect(isNewer(heartbeat(A, { sequence: 0, bootId: "new" }), live(A, 0, { sequence: 9 }))).toBe(true);
});

test("a lost node is shown without load figures and with its last heartbeat", () => {
  expect(toNode(record({ state: "lost" }), live(A, 9)).metrics).toBeNull();
  expect(toNode(record(), live(A, 9))).toMatchObject({ lastSeen: at(9), metrics: { load1: 1 } });
  expect(toNode(record(), undefined)).not.toHaveProperty("outbox");
});

/** Which event may follow in which state of a reader that knows the stream only. */
const FOLLOWS: Record<string, { from: readonly string[]; to: string }> = {
  "node.appeared": { from: ["none", "registered", "lost"], to: "alive" },
  "node.registered": { from: ["none"], to: "registered" },
  "node.suspected": { from: ["alive"], to: "suspect" },
  "node.lost": { from: ["suspect"], to: "lost" },
  "node.returned": { from: ["suspect", "lost", "registered"], to: "alive" },
  "node.disabled": { from: ["registered", "alive", "suspect", "lost"], to: "disabled" },
  "node.deleted": { from: ["registered", "lost", "disabled"], to: "none" },
};

class World {
  now = 0;
  listeningSince = 0;
  readonly bucket = new Map<string, NodeRecord>();
  readonly lives = new Map<string, Live>();
  readonly heard = new Map<string, number>();
  readonly reader = new Map<string, string>();
  #sequence = 0;

  view(): View {
    const owners = nameOwners(this.bucket.values());
    return view(this.now, { listeningSince: this.listeningSince, ownerOf: (name) => owners.get(name) });
  }

  beat(id: string, name: string): void {
    this.lives.set(id, live(id, this.now, { name, sequence: ++this.#sequence }));
    this.heard.set(id, this.now);
  }

  /** Another instance takes over that has heard nobody yet. */
  succeed(): void {
    this.lives.clear();
    this.listeningSince = this.now;
  }

  tick(): void {
    for (const id of IDS) this.apply(id, project(this.bucket.get(id), this.lives.get(id), this.view()));
    for (const id of IDS) {
      const again = project(this.bucket.get(id), this.lives.get(id), this.view());
      const onlyLost = events(again).every((event) => event === "node.lost" || event === "node.updated");
      expect(onlyLost, "a round leaves nothing but the second half of a long silence").toBe(true);
    }
  }

  apply(id: string, outcome: Outcome | string | undefined): void {
    if (outcome === undefined || typeof outcome === "string") return;
    for (const { event } of outcome.facts) this.#follow(id, event, outcome.record);
    if (outcome.record.deleted) this.bucket.delete(id);
    else this.bucket.set(id, outcome.record);
  }

  #follow(id: string, event: string, next: NodeRecord): void {
    const before = this.reader.get(id) ?? "none";
    if (event === "node.updated") {
      expect(before).not.toBe("none");
      return;
    }
    if (event === "node.enabled") {
      expect(before).toBe("disabled");
      this.reader.set(id, next.state);
      return;
    }
    const rule = FOLLOWS[event];
    expect(rule?.from, `${event} in state ${before}`).toContain(before);
    this.reader.set(id, rule?.to ?? "?");
    const silentMs = this.now - (this.heard.get(id) ?? Number.NEGATIVE_INFINITY);
    const listenedMs = this.now - this.listeningSince;
    if (event === "node.suspected") expect(Math.min(silentMs, listenedMs)).toBeGreaterThan(SUSPECT_MS);
    if (event === "node.lost") expect(Math.min(silentMs, listenedMs)).toBeGreaterThan(LOST_MS);
    if (event === "node.returned" || event === "node.appeared") expect(silentMs).toBeLessThanOrEqual(SUSPECT_MS);
    if (event === "node.deleted") expect(silentMs).toBeGreaterThan(SUSPECT_MS);
  }

  check(): void {
    const names = [...this.bucket.values()].map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const { id, state, disabled } of this.bucket.values()) {
      expect(state === "disabled").toBe(disabled !== null);
      const known = this.reader.get(id);
      expect(known === "registered" ? "lost" : known).toBe(state);
    }
  }
}

const id = fc.constantFrom(...IDS);
const name = fc.constantFrom("web", "db", "all");

/** A command: what it does to the world. Printed as its words when a sequence fails. */
type Command = readonly [what: string, ...rest: (string | number)[]];

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.constant("beat"), id, name) },
  { weight: 4, arbitrary: fc.tuple(fc.constant("pass"), fc.nat({ max: 20_000 })) },
  { weight: 4, arbitrary: fc.tuple(fc.constant("tick")) },
  fc.tuple(fc.constantFrom("disable", "enable", "remove"), id),
  fc.tuple(fc.constant("register"), id, name),
  fc.tuple(fc.constant("successor")),
);

function perform(world: World, [what, first, second]: Command): void {
  const node = String(first);
  const known = world.bucket.get(node);
  const heard = world.lives.get(node);
  const by = { reason: "r", actor: "a", at: at(0) };
  const wanted = { addresses: [], rack: null, zone: null, version: "0", roles: [], id: node, name: String(second) };
  const actions: Record<string, () => void> = {
    beat: () => world.beat(node, String(second)),
    pass: () => (world.now += Number(first)),
    tick: () => world.tick(),
    successor: () => world.succeed(),
    register: () => world.apply(node, register(known, wanted, world.view())),
    disable: () => world.apply(node, known && !known.disabled ? withMark(known, by, heard, world.view()) : undefined),
    enable: () => world.apply(node, known?.disabled ? withMark(known, null, heard, world.view()) : undefined),
    remove: () => world.apply(node, known && remove(known, heard, world.view(), "r")),
  };
  actions[what]?.();
}

test("any sequence of heartbeats, silence, operations and successors keeps the invariants", () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 150, size: "max" }), (commands) => {
      const world = new World();
      for (const one of commands) {
        perform(world, one);
        world.check();
      }
    }),
    { numRuns: 500 },
  );
});
