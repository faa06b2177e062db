// SPDX-License-Identifier: Apache-2.0
import type { WaitingEntry } from "@debvisor/proto-events/membership";
import { expect, test } from "vitest";
import { ADMITTED_FOR_MS } from "./membership.ts";
import { hasRoom, hindrance, judged, MAX_WAITING, openWaiting, WAITING_LIFE_MS, waitingKey } from "./words.ts";

const NOW = Date.parse("2026-11-28T12:00:00.000Z");
const at = (ms: number) => new Date(ms).toISOString();
const WORDS = "ocean lamp quiet tiger maple violin";
const KEY = "a".repeat(64);
const session = { words: WORDS, spki: KEY };

function entry(change: Partial<WaitingEntry> = {}): WaitingEntry {
  return {
    ...{ kind: "waiting", node: "a".repeat(16), key: KEY, name: "node-a", role: "worker", version: "1", words: WORDS },
    ...{ since: at(NOW), until: at(NOW + WAITING_LIFE_MS), verdict: null },
    ...change,
  } as WaitingEntry;
}

const approved = judged(entry(), WORDS, NOW);
const asked = { name: "node-a", role: "worker" } as const;

test("nobody is let in before somebody has typed the words", () => {
  expect(hindrance(entry(), session, asked, NOW)).toMatchObject({ kind: "wait" });
  expect(hindrance(approved, session, asked, NOW)).toBeUndefined();
});

test("other words end the attempt for good, even after the right ones", () => {
  const refused = judged(entry(), "ocean lamp quiet tiger maple zoo", NOW);

  expect(hindrance(refused, session, asked, NOW)).toMatchObject({ kind: "refuse", code: "JOIN_WORDS_DIFFER" });
  expect(judged(approved, "zoo", NOW).verdict).toBe("refused");
});

test.each([
  ["of another session", { ...session, words: "zoo zoo zoo zoo zoo zoo" }],
  ["of another key", { ...session, spki: "b".repeat(64) }],
  ["by another proof", { ...session, words: undefined }],
])("an approval is of no use to a peer %s", (_what, other) => {
  expect(hindrance(approved, other, asked, NOW)).toMatchObject({ kind: "refuse", code: "TIMEOUT" });
});

test.each([
  ["without an entry", undefined, NOW],
  ["when nobody approved in time", entry(), NOW + WAITING_LIFE_MS],
  ["when it did not come after it was approved", approved, NOW + ADMITTED_FOR_MS],
])("refuses %s", (_what, now, time) => {
  expect(hindrance(now, session, asked, time)).toMatchObject({ kind: "refuse", code: "TIMEOUT" });
});

test("what was approved as a worker does not come in as a server, nor under another name", () => {
  expect(hindrance(approved, session, { ...asked, role: "server" }, NOW)).toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(hindrance(approved, session, { ...asked, name: "node-b" }, NOW)).toMatchObject({ code: "INVALID_ARGUMENT" });
});

test("so many may wait, of whom each has one place", () => {
  const ids = Array.from({ length: MAX_WAITING }, (_, i) => String.fromCharCode(97 + i).repeat(16));
  const all = ids.map((node) => entry({ node }));
  const over = entry({ node: "z".repeat(16), until: at(NOW) });

  expect(openWaiting([...all, over], NOW)).toEqual(all);
  expect(hasRoom(all, "z".repeat(16))).toBe(false);
  expect(hasRoom(all, ids[3] ?? "")).toBe(true);
  expect(hasRoom(all.slice(1), "z".repeat(16))).toBe(true);
  expect(waitingKey("a")).not.toMatch(/^[a-z2-7]{16}$/);
});
