// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Member } from "@debvisor/proto-events/membership";
import type { Heartbeat } from "@debvisor/proto-events/node-agent";
import { type Clock, systemClock } from "@debvisor/shared/clock";
import { createLogger } from "@debvisor/shared/log";
import { expect, onTestFinished, test } from "vitest";
import { agreedClock } from "./agreed-clock.ts";

const NOW = Date.UTC(2026, 10, 28);
const HOUR = 3_600_000;

class TestClock implements Clock {
  wall = NOW;
  ms = 0;
  readonly sleep = systemClock.sleep;
  now = () => this.wall;
  monotonic = () => this.ms;
}

function member(id: string, change: Partial<Member> = {}): [string, Member] {
  return [id, { kind: "member", id, role: "server", state: "active", endpoints: {}, ...change } as Member];
}

/** A server `a` whose clock is two hours behind, the other machines, and what is heard of their clocks. */
function bench(...others: [string, Member][]) {
  const dir = mkdtempSync(path.join(tmpdir(), "dv-agreed-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const file = path.join(dir, "log");
  const clock = new TestClock();
  clock.wall = NOW - 2 * HOUR;
  const members = new Map([member("a"), ...others]);
  const heard = new Map(others.map(([id]) => [id, 0]));
  const agreed = agreedClock({
    clock,
    store: { members: () => members },
    live: (id) => {
      const heardAt = heard.get(id);
      if (heardAt === undefined) return undefined;
      return { heardAt, heartbeat: { time: new Date(NOW + heardAt).toISOString() } as Heartbeat };
    },
    node: "a",
    log: createLogger({ level: "error", destination: file }),
  });
  return { clock, heard, agreed, told: () => readFileSync(file, "utf8").split("\n").length - 1 };
}

test("a server with two others goes by them, and says once an hour that its own clock is wrong", () => {
  const { clock, heard, agreed, told } = bench(member("b"), member("c"));

  expect([agreed.now(), agreed.isAgreed]).toEqual([NOW, true]);
  // Time goes on since the heartbeats.
  clock.ms += 10_000;
  expect(agreed.now()).toBe(NOW + 10_000);
  expect(told()).toBe(1);
  clock.ms += HOUR;
  for (const id of ["b", "c"]) heard.set(id, clock.ms);
  expect(agreed.now()).toBe(NOW + HOUR + 10_000);
  expect(told()).toBe(2);

  clock.wall = NOW + HOUR;
  expect(agreed.now()).toBe(clock.wall);
  expect(told()).toBe(2);
});

test.each([
  { name: "the other is the only one", others: [member("b")] },
  { name: "the third is a worker", others: [member("b"), member("c", { role: "worker" })] },
  { name: "the third was removed", others: [member("b"), member("c", { state: "removed" })] },
])("it goes by its own while $name", ({ others }) => {
  const { clock, agreed } = bench(...others);

  expect([agreed.now(), agreed.isAgreed]).toEqual([clock.wall, false]);
});

test("what was heard of a server long ago does not count", () => {
  const { clock, agreed } = bench(member("b"), member("c"));
  clock.ms += 15_001;

  expect([agreed.now(), agreed.isAgreed]).toEqual([clock.wall, false]);
});
