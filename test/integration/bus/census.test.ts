// SPDX-License-Identifier: Apache-2.0
/** A request to many nodes counts every one of them exactly once, whatever they answer (DESIGN.md 5, fan-out). */
import { inboxPrefix, rpcSubject } from "@debvisor/proto-events/subjects";
import type { TargetAnswer } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { Scatterer } from "@debvisor/shared/bus/scatter";
import { headers as createHeaders, type Msg } from "@nats-io/nats-core";
import { beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";

const cluster = sharedBusCluster({ servers: 1 });
const NODES = 50;
const ROUNDS = process.env["DV_SOAK"] === "1" ? 500 : 20;
const DEADLINE_MS = 300;
const SLOW_MS = 100;
const SERVICE = "node-agent";
const WIRE = "get-facts";
const Output = z.object({ node: z.string() });

type Behaviour = (message: Msg, node: string) => void;

const good = (node: string) => JSON.stringify({ ok: true, data: { node } });
const refusal = (code: string, kind: string) => JSON.stringify({ ok: false, error: { code, kind, message: "no" } });
const says =
  (text: string): Behaviour =>
  (message) =>
    void message.respond(text);

/** What the odd nodes do, and how each must be counted. All others answer well. */
const ODD: readonly { does: Behaviour | "absent"; status: TargetAnswer["status"]; code?: string }[] = [
  { does: (message, node) => void setTimeout(() => message.respond(good(node)), SLOW_MS), status: "ok" },
  { does: () => undefined, status: "timed-out", code: "TIMEOUT" },
  { does: "absent", status: "unreachable", code: "UNAVAILABLE" },
  { does: says("no json"), status: "failed", code: "MALFORMED_REPLY" },
  { does: says('{"ok":true,"data":no json}'), status: "failed", code: "MALFORMED_REPLY" },
  { does: says("[]"), status: "failed", code: "MALFORMED_REPLY" },
  { does: says("null"), status: "failed", code: "MALFORMED_REPLY" },
  { does: says('{"ok":true}'), status: "failed", code: "MALFORMED_REPLY" },
  { does: says('{"ok":true,"data":{"node":7}}'), status: "failed", code: "MALFORMED_REPLY" },
  { does: says(`{"ok":true,"data":${"[".repeat(20_000)}}`), status: "failed", code: "MALFORMED_REPLY" },
  { does: says("x".repeat(1_000_000)), status: "failed", code: "MALFORMED_REPLY" },
  { does: says(""), status: "failed", code: "MALFORMED_REPLY" },
  { does: claimsAbsence, status: "unreachable", code: "UNAVAILABLE" },
  { does: says(refusal("PERMISSION_DENIED", "permission-denied")), status: "refused", code: "PERMISSION_DENIED" },
  { does: says(refusal("TOOL_FAILED", "operation-failed")), status: "failed", code: "TOOL_FAILED" },
  { does: says(refusal("OF_TOMORROW", "invented")), status: "failed", code: "OF_TOMORROW" },
  { does: (message, node) => [1, 2, 3].forEach(() => void message.respond(good(node))), status: "ok" },
];
const ids = Array.from({ length: NODES }, randomNodeId);
const behaviour = new Map(ids.map((id, index) => [id, ODD[index]] as const));
let gateway: ConnectedBus;

function claimsAbsence(message: Msg): void {
  const headers = createHeaders(503, "No Responders");
  message.respond("", { headers });
}

beforeAll(async () => {
  gateway = await cluster().connectCore("gateway");
  for (const [id, odd] of behaviour) {
    const does = odd?.does ?? ((message: Msg, node: string) => void message.respond(good(node)));
    if (does === "absent") continue;
    const node = await cluster().connectNode(id);
    const callback = (_error: Error | null, message: Msg) => does(message, id);
    node.connection.subscribe(rpcSubject(id, SERVICE, WIRE), { callback });
    await node.connection.flush();
  }
});

async function ask(targets: readonly string[], timeoutMs = DEADLINE_MS) {
  const startedAt = performance.now();
  const { answers } = gateway.scatter(targets, SERVICE, WIRE, {}, { timeoutMs, output: Output });
  const list = await Array.fromAsync(answers);
  return { list, ms: performance.now() - startedAt };
}

test(`${NODES} nodes, many of them odd, are counted exactly in each of ${ROUNDS} rounds`, {
  timeout: 10 * 60_000,
}, async () => {
  const expected = ids.map((id) => [id, behaviour.get(id)?.status ?? "ok", behaviour.get(id)?.code]).sort();

  for (let round = 0; round < ROUNDS; round++) {
    const { list, ms } = await ask(ids);

    expect(list.map(({ node, status, error }) => [node, status, error?.code]).sort()).toEqual(expected);
    expect(list.every(({ node, raw }) => raw === undefined || raw === JSON.stringify({ node }))).toBe(true);
    expect(ms).toBeGreaterThanOrEqual(DEADLINE_MS - 5);
    // Ends by the deadline; the margin is for a busy machine.
    expect(ms).toBeLessThan(DEADLINE_MS + 700);
  }
});

test("ends with the last answer, long before the deadline, when everybody answers", async () => {
  const well = ids.filter((id) => !behaviour.get(id) || behaviour.get(id)?.status === "ok");

  const { list, ms } = await ask(well, 20_000);

  expect(list.map(({ status }) => status)).toEqual(well.map(() => "ok"));
  expect(ms).toBeLessThan(5_000);
});

test("scatters under way at the same time do not mix their answers", async () => {
  const well = ids.slice(ODD.length);

  const all = await Promise.all(Array.from({ length: 20 }, (_, index) => ask(well.slice(index), 20_000)));

  for (const [index, { list }] of all.entries()) {
    expect(list.map(({ node }) => node).sort()).toEqual(well.slice(index).sort());
  }
});

test("an answer after the deadline is dropped and counted as surplus, in this scatter and for the next", async () => {
  const scatterer = new Scatterer(gateway.connection, `${inboxPrefix(gateway.user)}.late`);
  const id = randomNodeId();
  const node = await cluster().connectNode(id);
  const late = Promise.withResolvers<Msg>();
  let asked = 0;
  node.connection.subscribe(rpcSubject(id, SERVICE, WIRE), {
    callback: (_error, message) => {
      if (asked++ === 0) late.resolve(message);
      else message.respond(good(id));
    },
  });
  await node.connection.flush();

  const first = await Array.fromAsync(
    scatterer.send([id], SERVICE, WIRE, {}, { timeoutMs: 60, output: Output }).answers,
  );
  const second = scatterer.send([id], SERVICE, WIRE, {}, { timeoutMs: 5_000, output: Output });
  (await late.promise).respond(good("late"));
  const secondAnswers = await Array.fromAsync(second.answers);

  expect(first.map(({ status }) => status)).toEqual(["timed-out"]);
  expect(secondAnswers.map(({ status, raw }) => [status, raw])).toEqual([["ok", JSON.stringify({ node: id })]]);
  await expect.poll(() => scatterer.surplus).toBe(1);
});

test("1,000 nodes that are not there are all unreachable within two seconds", async () => {
  const absent = Array.from({ length: 1_000 }, randomNodeId);

  const { list, ms } = await ask(absent, 30_000);

  expect(list.map(({ node }) => node).sort()).toEqual([...absent].sort());
  expect(new Set(list.map(({ status }) => status))).toEqual(new Set(["unreachable"]));
  expect(ms).toBeLessThan(2_000);
});

test("no targets give no answers, at once", async () => {
  expect((await ask([])).list).toEqual([]);
});

test("a request that is larger than a message may be is refused for every target without being sent", async () => {
  const scatter = gateway.scatter(ids, SERVICE, WIRE, { text: "x".repeat(1_100_000) }, { timeoutMs: 5_000 });

  const answers = await Array.fromAsync(scatter.answers);

  expect(answers.map(({ status, error }) => [status, error?.code])).toEqual(
    ids.map(() => ["refused", "REQUEST_TOO_LARGE"]),
  );
});
