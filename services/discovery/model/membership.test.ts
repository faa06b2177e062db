// SPDX-License-Identifier: Apache-2.0
import type { ClusterEntry, Member } from "@debvisor/proto-events/membership";
import type { JoinRequest } from "@debvisor/shared/join/messages";
import { expect, test } from "vitest";
import {
  ADMITTED_FOR_MS,
  type Applicant,
  CODE_TRIES,
  type Decision,
  decideAdmission,
  joined,
  openCode,
  servingMembers,
} from "./membership.ts";

const NOW = Date.parse("2026-11-28T12:00:00.000Z");
const HOUR = 3_600_000;
const at = (ms: number) => new Date(ms).toISOString();
const ID = { a: "a".repeat(16), b: "b".repeat(16), c: "c".repeat(16) };
const spki = (letter: string) => letter.repeat(64);

const cluster: ClusterEntry = {
  kind: "cluster",
  cluster: "lab",
  formation: "0".repeat(32),
  servers: 3,
  foundedAt: at(NOW - HOUR),
  foundedBy: ID.a,
  unattendedUntil: at(NOW + HOUR),
  joining: null,
};

const endpoints = { host: "10.0.0.1", client: 1, cluster: 2, join: 3, gateway: 4 };

function member(id: string, change: Partial<Member> = {}): Member {
  return {
    ...{ kind: "member", id, name: `node-${id[0]}`, role: "server", state: "active", generation: 2, incarnation: 1 },
    ...{ key: spki(id[0] ?? ""), busKey: "U", addresses: [], endpoints, admittedBy: "secret", admittedAt: at(NOW) },
    ...{ certificate: null, removed: null },
    ...change,
  } as Member;
}

const request: JoinRequest = {
  kind: "join",
  name: "node-b",
  role: "server",
  version: "0.1.0",
  addresses: ["10.0.0.2"],
  endpoints: { ...endpoints, monitor: 5, helper: [6, 7, 8] },
  busKey: `U${"A".repeat(55)}`,
  tlsRequest: "request",
};

function decide(members: readonly Member[], change: Partial<Applicant & JoinRequest> = {}, entry = cluster): Decision {
  const applicant: Applicant = { id: ID.b, spki: spki("b"), proof: "secret", ...change };
  return decideAdmission(
    new Map(members.map((one) => [one.id, one])),
    entry,
    applicant,
    { ...request, ...change } as JoinRequest,
    NOW,
  );
}

test("a stranger with the secret is admitted while unattended joining is open", () => {
  expect(decide([member(ID.a)])).toMatchObject({
    kind: "admit",
    isNew: true,
    member: { id: ID.b, state: "admitted", admittedBy: "secret", key: spki("b"), generation: 1, incarnation: 1 },
    cluster: { joining: { node: ID.b } },
  });
});

test("the secret lets nobody in once the time is over or the cluster is closed; a code does", () => {
  for (const unattendedUntil of [null, at(NOW - 1)]) {
    const closed = { ...cluster, unattendedUntil };
    expect(decide([member(ID.a)], {}, closed)).toMatchObject({ kind: "refuse", code: "JOIN_CLOSED" });
    expect(decide([member(ID.a)], { proof: "code" }, closed)).toMatchObject({ kind: "admit" });
  }
});

test("a member that was removed never comes back, whatever it proves", () => {
  const removed = member(ID.b, { state: "removed", removed: { at: at(NOW), actor: "me", reason: "stolen" } });
  for (const proof of ["secret", "code", "member"] as const) {
    expect(decide([member(ID.a), removed], { proof })).toMatchObject({ kind: "refuse", code: "MEMBER_REMOVED" });
  }
});

test("another key under the id of a member is refused", () => {
  const answer = decide([member(ID.a), member(ID.b)], { spki: spki("x") });
  expect(answer).toMatchObject({ kind: "refuse", code: "IDENTITY_CONFLICT" });
});

test("a name that another member has is refused; that of a removed one is free", () => {
  const namesake = member(ID.c, { name: "node-b" });
  expect(decide([member(ID.a), namesake])).toMatchObject({ kind: "refuse", code: "NODE_NAME_TAKEN" });
  const gone = { ...namesake, state: "removed" as const, removed: { at: at(NOW), actor: "me", reason: "old" } };
  expect(decide([member(ID.a), gone])).toMatchObject({ kind: "admit" });
});

test("no more servers than declared; workers as many as come", () => {
  const full = { ...cluster, servers: 1 as const };
  expect(decide([member(ID.a)], {}, full)).toMatchObject({ kind: "refuse", code: "CLUSTER_FULL" });
  expect(decide([member(ID.a)], { role: "worker" }, full)).toMatchObject({
    kind: "admit",
    member: { endpoints: null },
  });
});

test("servers join one after the other; a worker does not wait for them", () => {
  const busy = { ...cluster, joining: { node: ID.c, since: at(NOW - 1_000) } };
  expect(decide([member(ID.a)], {}, busy)).toMatchObject({ kind: "wait" });
  expect(decide([member(ID.a)], { role: "worker" }, busy)).toMatchObject({ kind: "admit" });
  const forgotten = { ...cluster, joining: { node: ID.c, since: at(NOW - ADMITTED_FOR_MS) } };
  expect(decide([member(ID.a)], {}, forgotten)).toMatchObject({ kind: "admit" });
});

test("a machine that asks again gets the same place, in its own turn", () => {
  const admitted = member(ID.b, { state: "admitted", generation: 1 });
  const turn = { ...cluster, joining: { node: ID.b, since: at(NOW - 1_000) } };
  expect(decide([member(ID.a), admitted], {}, turn)).toMatchObject({
    kind: "admit",
    isNew: false,
    member: { generation: 2, incarnation: 1, busKey: request.busKey },
    cluster: { joining: turn.joining },
  });
});

test("a member keeps the role that it was admitted with", () => {
  const worker = member(ID.b, { role: "worker", endpoints: null });
  expect(decide([member(ID.a), worker])).toMatchObject({ kind: "admit", member: { role: "worker", endpoints: null } });
});

test("who comes up is marked once", () => {
  expect(joined(member(ID.b, { state: "admitted", generation: 1 }))).toMatchObject({ state: "active", generation: 2 });
  expect(joined(member(ID.b))).toBeUndefined();
});

test("a code is open until its time, its tries or its use end it", () => {
  const entry = {
    kind: "code" as const,
    code: "abc",
    actor: "me",
    until: at(NOW + 1),
    triesLeft: CODE_TRIES,
    node: null,
  };
  expect(openCode(entry, NOW)).toBe(entry);
  expect(openCode(entry, NOW + 1)).toBeUndefined();
  expect(openCode({ ...entry, triesLeft: 0 }, NOW)).toBeUndefined();
  expect(openCode(undefined, NOW)).toBeUndefined();
});

test("of the servers only active ones serve, the own one first", () => {
  const members = [member(ID.c), member(ID.a), member(ID.b, { state: "admitted" })];
  expect(servingMembers(new Map(members.map((one) => [one.id, one])), ID.c).map(({ id }) => id)).toEqual([ID.c, ID.a]);
});
