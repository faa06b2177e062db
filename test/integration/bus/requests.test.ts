// SPDX-License-Identifier: Apache-2.0
/** One request, one answer: errors on the wire, overload, stopping, and what random bytes do to a service. */
import type { Contract } from "@debvisor/proto-events/kit";
import { contract, operation, wireName } from "@debvisor/proto-events/kit";
import { CONTRACTS } from "@debvisor/proto-events/registry";
import { WireError } from "@debvisor/proto-events/replies";
import { rpcSubject } from "@debvisor/proto-events/subjects";
import { sealCommand, signerOf } from "@debvisor/shared/bus/command";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { systemClock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import { headers as createHeaders } from "@nats-io/nats-core";
import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { randomNodeId, sharedBusCluster } from "../../support/bus-cluster.ts";

const cluster = sharedBusCluster({ servers: 1 });
const SECRET = "postgres://admin:hunter2@db";

const echo = contract({
  service: "echo",
  summary: "Answers for tests.",
  operations: {
    run: operationOf(2_000),
    wait: operationOf(2_000),
    ask: coreOperationOf(2_000),
    hurry: coreOperationOf(1_000),
  },
  events: {},
});
type Echo = typeof echo;

function operationOf(timeoutMs: number) {
  return operation({ ...behaviour(timeoutMs), scope: "node" });
}

function coreOperationOf(timeoutMs: number) {
  return operation({ ...behaviour(timeoutMs), scope: "core" });
}

function behaviour(timeoutMs: number) {
  return {
    summary: "Does what the text says.",
    effect: "read",
    idempotent: true,
    timeoutMs,
    permission: "echo:text:run",
    input: z.strictObject({ text: z.string(), count: z.number().int().min(1).default(1) }),
    output: z.object({ text: z.string() }),
    errors: ["NODE_NOT_FOUND"],
    http: null,
    cli: null,
  } as const;
}

let gateway: ConnectedBus;

beforeAll(async () => {
  gateway = await cluster().connectCore("gateway");
});

/** A node that serves `echo`; `wait` answers when `release` is called. */
async function startEcho() {
  const id = randomNodeId();
  const bus = await cluster().connectNode(id);
  const gate = Promise.withResolvers<void>();
  let waiting = 0;
  const service = await bus.serve<Echo, "node">(echo, "node", {
    run: ({ text }) => {
      if (text === "known") throw new DvError("NODE_NOT_FOUND", "No such node.", { details: { node: "x" } });
      if (text === "bug") throw new Error(SECRET, { cause: new TypeError(SECRET) });
      if (text === "odd") throw SECRET;
      return text === "huge" ? { text: "x".repeat(1_100_000) } : { text };
    },
    wait: async ({ text }) => {
      waiting++;
      await gate.promise;
      return { text };
    },
  });
  return { id, service, release: gate.resolve, waiting: () => waiting };
}

test("an answer, and an error with its details, arrive as they were sent", async () => {
  const { id } = await startEcho();

  expect(await gateway.request(id, echo, "run", { text: "hello" })).toEqual({ text: "hello" });
  await expect(gateway.request(id, echo, "run", { text: "known" })).rejects.toMatchObject({
    code: "NODE_NOT_FOUND",
    kind: "not-found",
    details: { node: "x" },
  });
});

test("input that the schema refuses is INVALID_ARGUMENT with the place of each fault", async () => {
  const { id } = await startEcho();
  const wrong = { text: 5, count: 0, more: true } as never;

  const error = await gateway.request(id, echo, "run", wrong).catch((thrown: unknown) => thrown);

  expect(error).toMatchObject({ code: "INVALID_ARGUMENT" });
  const issues = (error as DvError).details?.["issues"] as { path: string }[];
  expect(issues.map(({ path }) => path).sort()).toEqual(["", "count", "text"]);
});

test.for(["bug", "odd"])("an internal error (%s) says nothing of its cause to the caller", async (text) => {
  const { id } = await startEcho();
  const subject = rpcSubject(id, "echo", "run");

  const reply = await gateway.connection.request(subject, JSON.stringify({ text }), { timeout: 2_000 });

  expect(reply.json()).toMatchObject({ ok: false, error: { code: "INTERNAL", kind: "internal" } });
  expect(reply.string() + JSON.stringify([...(reply.headers ?? [])])).not.toContain("hunter2");
});

test("an answer larger than a message may be is an error, not silence", async () => {
  const { id } = await startEcho();

  await expect(gateway.request(id, echo, "run", { text: "huge" })).rejects.toMatchObject({ code: "INTERNAL" });
});

test("a request larger than a message may be is refused before it is sent", async () => {
  const { id } = await startEcho();
  const text = "x".repeat(1_100_000);

  await expect(gateway.request(id, echo, "run", { text })).rejects.toMatchObject({ code: "REQUEST_TOO_LARGE" });
});

test("a node that is not there is UNAVAILABLE in less than 50 ms", async () => {
  const times: number[] = [];

  for (let i = 0; i < 10; i++) {
    const startedAt = performance.now();
    await expect(gateway.request(randomNodeId(), echo, "run", { text: "a" })).rejects.toMatchObject({
      code: "UNAVAILABLE",
    });
    times.push(performance.now() - startedAt);
  }

  // The median, because other tests share the machine.
  expect(times.sort((a, b) => a - b)[5]).toBeLessThan(50);
});

test("a core part that starts within the time answers a request that came sooner, once", async () => {
  const node = randomNodeId();
  const credential = await cluster().issuer.forCore("echo", node, [echo]);
  const bus = await cluster().connect({ credential, origin: "core", node: { id: node, name: "server" } });
  const asked: string[] = [];
  const answer = gateway.request("core", echo, "ask", { text: "early" });
  const hurried = gateway.request("core", echo, "hurry", { text: "early" });

  await expect(hurried).rejects.toMatchObject({ code: "UNAVAILABLE" });
  const ask = ({ text }: { text: string }) => {
    asked.push(text);
    return { text };
  };
  const service = await bus.serve<Echo, "core">(echo, "core", { ask, hurry: ask });

  expect(await answer).toEqual({ text: "early" });
  expect(asked).toEqual(["early"]);
  await service.stop();
  const startedAt = performance.now();
  await expect(gateway.request("core", echo, "ask", { text: "late" })).rejects.toMatchObject({ code: "UNAVAILABLE" });
  expect(performance.now() - startedAt).toBeGreaterThan(900);
});

test("a node that does not answer in time is TIMEOUT", async () => {
  const { id, release } = await startEcho();

  await expect(gateway.request(id, echo, "wait", { text: "a" }, { timeoutMs: 100 })).rejects.toMatchObject({
    code: "TIMEOUT",
  });
  release();
});

test("stopping a service answers what is under way and takes no more", async () => {
  const { id, service, release, waiting } = await startEcho();
  const underWay = gateway.request(id, echo, "wait", { text: "last" });
  await expect.poll(waiting).toBe(1);

  const stopped = service.stop();
  release();

  expect(await underWay).toEqual({ text: "last" });
  await stopped;
  await expect(gateway.request(id, echo, "run", { text: "a" })).rejects.toMatchObject({ code: "UNAVAILABLE" });
});

test("a service that works on 1,024 requests refuses more at once and answers all", async () => {
  const { id, release, waiting } = await startEcho();
  const accepted = Array.from({ length: 1_024 }, () =>
    gateway.request(id, echo, "wait", { text: "a" }, { timeoutMs: 30_000 }),
  );
  await expect.poll(waiting, { timeout: 10_000 }).toBe(1_024);

  await expect(gateway.request(id, echo, "wait", { text: "a" }, { timeoutMs: 30_000 })).rejects.toMatchObject({
    code: "UNAVAILABLE",
  });
  release();

  expect(await Promise.all(accepted)).toHaveLength(1_024);
});

test("$SRV lists every instance with its node and its counts", async () => {
  const [one, two] = await Promise.all([startEcho(), startEcho()]);
  await gateway.request(one.id, echo, "run", { text: "a" });
  await gateway.request(one.id, echo, "run", { text: "known" }).catch(() => undefined);

  const listed = await gateway.instances(300);

  const of = (id: string) => listed.find(({ metadata }) => metadata["node"] === id);
  expect(of(one.id)).toMatchObject({
    service: "echo",
    requests: 2,
    errors: 1,
    version: "0.1.0",
    metadata: { part: "node" },
  });
  expect(of(two.id)).toMatchObject({ service: "echo", requests: 0 });
});

const anyBody = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.json({ maxDepth: 4 }).map((text) => new TextEncoder().encode(text)),
  fc
    .dictionary(
      fc.constantFrom(
        "node",
        "filter",
        "sort",
        "limit",
        "cursor",
        "reason",
        "id",
        "name",
        "seconds",
        "__proto__",
        "quick",
      ),
      fc.anything({ maxDepth: 1 }),
    )
    .map((value) => new TextEncoder().encode(toJson(value))),
);

test.for(operationsToFuzz())(
  "random bytes as a request for %s are always answered",
  async ([, served, scope, name]) => {
    const id = randomNodeId();
    const service = served.service;
    const credential =
      scope === "node" ? await cluster().issuer.forNode(id) : await cluster().issuer.forCore(service, id, [served]);
    const bus = await cluster().connect({
      credential,
      origin: scope === "node" ? id : "core",
      node: { id, name: "n" },
      commandSigners: cluster().commandSigners,
    });
    const signer = signerOf(
      await cluster().issuer.forCore(service, randomNodeId(), [{ ...served, uses: { commands: [service] } }]),
    );
    const isOrder = scope === "node" && served.operations[name]?.effect !== "read";
    const handlers = Object.fromEntries(
      Object.keys(served.operations).map((key) => [key, (input: unknown) => ({ input: typeof input })]),
    );
    const running = await bus.serve(served, scope, handlers as never);
    const subject = rpcSubject(scope === "node" ? id : "core", service, wireName(name));

    await fc.assert(
      fc.asyncProperty(anyBody, async (body) => {
        const headers = createHeaders();
        // Behind a good envelope, or the arguments would not be looked at.
        if (isOrder)
          sealCommand(headers, signer, {
            cmd: `${service}.${wireName(name)}`,
            node: id,
            order: { operation: "op-x", step: "s", direction: "do", epoch: 0, resource: null, fence: null },
            payload: body,
            clock: systemClock,
          });
        const answer = await gateway.connection.request(subject, body, { timeout: 3_000, headers });
        const reply = answer.json<{ ok: boolean; error?: unknown }>();
        const error = reply.ok ? undefined : WireError.parse(reply.error);
        expect([undefined, "INVALID_ARGUMENT"]).toContain(error?.code);
      }),
      { numRuns: process.env["DV_SOAK"] === "1" ? 5_000 : 100 },
    );
    await running.stop();
  },
);

function operationsToFuzz(): (readonly [string, Contract, "core" | "node", string])[] {
  return CONTRACTS.flatMap((served) =>
    Object.entries(served.operations).map(
      ([name, { scope }]) => [`${served.service} ${name}`, served, scope, name] as const,
    ),
  );
}

function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => (typeof inner === "bigint" ? String(inner) : inner)) ?? "";
}
