// SPDX-License-Identifier: Apache-2.0
/** Append-only streams: compare-and-set of appends, repeats of an append whose acknowledgement was lost, reading, following. */
import { randomBytes } from "node:crypto";
import type { JournalEntry } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { expect, test } from "vitest";
import { type BusCluster, randomNodeId, sharedBusCluster, startBusCluster } from "../../support/bus-cluster.ts";
import { waitFor } from "../../support/wait-for.ts";

const shared = sharedBusCluster({ servers: 1 });
const newId = () => randomBytes(16).toString("hex");
const newKey = () => `op-${randomNodeId().slice(0, 13)}`;

/** Who may append to and read the log of operations. */
const owner = (cluster: BusCluster) => cluster.connectCore("node-agent");

async function appendAll(bus: ConnectedBus, key: string, texts: readonly string[]): Promise<number[]> {
  const journal = bus.journal("DV_OPS");
  const seqs: number[] = [];
  for (const text of texts) seqs.push(await journal.append(key, text, { expected: seqs.at(-1) ?? 0, id: newId() }));
  return seqs;
}

test.for([1, 3] as const)("with %d servers a repeated append is answered with the first sequence", async (servers) => {
  await using cluster = await startBusCluster({ servers });
  const journal = (await owner(cluster)).journal("DV_OPS");
  const key = newKey();
  const id = newId();

  const first = await journal.append(key, "a", { expected: 0, id });
  const again = await journal.append(key, "a", { expected: 0, id });
  const second = await journal.append(key, "b", { expected: first, id: newId() });
  // The expected sequence of the repeat has been overtaken; the id is known all the same.
  const late = await journal.append(key, "a", { expected: 0, id });

  expect([again, late]).toEqual([first, first]);
  expect((await journal.read(key)).map(({ text, seq }) => [text, seq])).toEqual([
    ["a", first],
    ["b", second],
  ]);
});

test("a node whose acknowledgement was lost learns that its record is stored", async () => {
  const node = await shared().connectNode();
  const journal = node.journal("DV_AUDIT");
  const id = newId();

  const seq = await journal.append(node.user, "one", { expected: 0, id });

  expect(await journal.append(node.user, "one", { expected: 0, id })).toBe(seq);
});

test("one of two writers that expect the same sequence gets a conflict, and nothing of it is stored", async () => {
  const cluster = shared();
  const [one, two] = await Promise.all([owner(cluster), owner(cluster)]);
  const key = newKey();
  const [last = 0] = await appendAll(one, key, ["start"]);

  const race = await Promise.allSettled(
    [one, two].map((bus, i) => bus.journal("DV_OPS").append(key, `claim ${i}`, { expected: last, id: newId() })),
  );

  const lost = race.filter((result) => result.status === "rejected");
  expect(lost).toHaveLength(1);
  expect(lost[0]?.reason).toMatchObject({ code: "CONFLICT" });
  expect(await one.journal("DV_OPS").read(key)).toHaveLength(2);
});

test("many appends at once to one key leave exactly one, to different keys all of them", async () => {
  const cluster = shared();
  const journal = (await owner(cluster)).journal("DV_OPS");
  const key = newKey();

  const same = await Promise.allSettled(
    Array.from({ length: 50 }, (_, i) => journal.append(key, String(i), { expected: 0, id: newId() })),
  );
  const keys = Array.from({ length: 50 }, newKey);
  const different = await Promise.all(keys.map((other) => journal.append(other, "x", { expected: 0, id: newId() })));

  expect(same.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  expect(await journal.read(key)).toHaveLength(1);
  expect(new Set(different).size).toBe(50);
});

test("read, last and range say what was appended, and nothing of another key", async () => {
  const cluster = shared();
  const bus = await owner(cluster);
  const journal = bus.journal("DV_OPS");
  const [key, other] = [newKey(), newKey()];
  const before = Date.now();
  const texts = Array.from({ length: 50 }, (_, i) => JSON.stringify({ i, text: "größer — 漢字 🦉" }));

  expect(await journal.last(key)).toBeUndefined();
  expect(await journal.read(key)).toEqual([]);
  const seqs = await appendAll(bus, key, texts);
  const [foreign = 0] = await appendAll(bus, other, ["other"]);

  const entries = await journal.read(key);
  expect(entries.map(({ text }) => text)).toEqual(texts);
  expect(entries.map(({ seq }) => seq)).toEqual(seqs);
  expect(entries.every((entry) => entry.key === key && entry.timeMs >= before - 1_000)).toBe(true);
  expect(await journal.last(key)).toEqual(entries.at(-1));
  const { bytes, maxBytes, ...range } = await journal.range();
  expect(range).toEqual({ firstSeq: 1, lastSeq: foreign });
  expect(bytes).toBeGreaterThan(0);
  expect(bytes).toBeLessThan(maxBytes);
});

test("a follower gets every record once and in order, although the server is killed meanwhile", async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  const bus = await owner(cluster);
  const key = newKey();
  const seen: JournalEntry[] = [];
  const pending: number[] = [];
  const seqs = await appendAll(bus, key, ["a", "b", "c"]);
  const follower = await bus.journal("DV_OPS").follow({
    fromSeq: seqs[1] ?? 0,
    onEntry: (entry) => void seen.push(entry),
    onStand: (count) => void pending.push(count),
  });
  await waitFor(
    () => seen.length === 2,
    5_000,
    () => `saw ${seen.length}`,
  );

  const server = cluster.server(0);
  const { pid } = server;
  server.kill();
  await server.recovered(pid);
  const journal = bus.journal("DV_OPS");
  const id = newId();
  await waitFor(
    () =>
      journal.append(key, "d", { expected: seqs[2] ?? 0, id }).then(
        () => true,
        () => false,
      ),
    15_000,
    () => "the append after the restart",
  );

  await waitFor(
    () => seen.length >= 3,
    15_000,
    () => `saw ${seen.length}`,
  );
  expect(seen.map(({ text }) => text)).toEqual(["b", "c", "d"]);
  expect(pending[0]).toBe(2);
  await follower.stop();
});

test("an append without a server is unknown, and the server that comes back knows its id", async () => {
  await using cluster = await startBusCluster({ servers: 1 });
  const bus = await owner(cluster);
  const journal = bus.journal("DV_OPS");
  const key = newKey();
  const id = newId();
  const seq = await journal.append(key, "kept", { expected: 0, id });
  const server = cluster.server(0);
  await server.stop();

  await expect(journal.append(key, "kept", { expected: 0, id })).rejects.toMatchObject({ code: "BUS_UNAVAILABLE" });
  await expect(journal.read(key)).rejects.toMatchObject({ code: "BUS_UNAVAILABLE" });

  await server.start();
  await waitFor(
    () => bus.connected,
    10_000,
    () => "no connection",
  );
  await waitFor(
    () =>
      bus.ready(["DV_OPS"]).then(
        () => true,
        () => false,
      ),
    10_000,
    () => "the stream is not ready",
  );
  expect(await journal.append(key, "kept", { expected: 0, id })).toBe(seq);
});

test("a node appends to its own part of the audit trail by compare-and-set, across the accounts", async () => {
  const cluster = shared();
  const node = await cluster.connectNode();
  const journal = node.journal("DV_AUDIT");

  const first = await journal.append(node.user, "one", { expected: 0, id: newId() });
  const second = await journal.append(node.user, "two", { expected: first, id: newId() });

  await expect(journal.append(node.user, "fork", { expected: first, id: newId() })).rejects.toMatchObject({
    code: "CONFLICT",
    details: { lastSeq: second },
  });
  expect(await journal.last(node.user)).toMatchObject({ seq: second, text: "two" });
  await expect(journal.last(randomNodeId())).rejects.toThrow();
  await expect(journal.read(node.user)).rejects.toThrow();
  const reader = (await cluster.connectCore("audit")).journal("DV_AUDIT");
  expect((await reader.read(node.user)).map(({ text }) => text)).toEqual(["one", "two"]);
});

test("a node cannot append in another's name, nor to the log of operations or the checkpoints", async () => {
  const cluster = shared();
  const node = await cluster.connectNode();
  const [victim, key] = [randomNodeId(), newKey()];
  const options = { expected: 0, id: newId() };

  await expect(node.journal("DV_AUDIT").append(victim, "forged", options)).rejects.toThrow();
  await expect(node.journal("DV_OPS").append(key, "forged", options)).rejects.toThrow();
  await expect(node.journal("DV_SEALS").append(node.user, "forged", options)).rejects.toThrow();

  const { manager } = await cluster.admin();
  const stored = await Promise.all(
    ["DV_AUDIT", "DV_OPS", "DV_SEALS"].map((stream) => manager.streams.info(stream, { subjects_filter: ">" })),
  );
  const subjects = stored.flatMap(({ state }) => Object.keys(state.subjects ?? {}));
  expect(subjects.filter((subject) => [victim, key, node.user].some((token) => subject.endsWith(token)))).toEqual([]);
});
