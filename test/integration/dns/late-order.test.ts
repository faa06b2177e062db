// SPDX-License-Identifier: Apache-2.0
/** An order that was allowed, stood still before its write, and was undone by another owner meanwhile: it must change nothing. */
import type { OperationId } from "@debvisor/proto-events/primitives";
import type { Bus } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { systemClock } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import type { StepContext } from "@debvisor/shared/operation/definition";
import { newOperationId } from "@debvisor/shared/operation/submit";
import { beforeAll, expect, test } from "vitest";
import { type RememberParams, rememberHostStep } from "../../../services/dns/operations/remember-host.ts";
import { DnsStore } from "../../../services/dns/reconcilers/dns-store.ts";
import { type HostEntry, HostStore } from "../../../services/dns/reconcilers/host-store.ts";
import { OrderGuard } from "../../../services/dns/reconcilers/order-guard.ts";
import { sharedBusCluster } from "../../support/bus-cluster.ts";
import { Ports, portBus } from "../../support/operation-torture-ports.ts";

type Direction = "do" | "undo";
const SEAL_KEY = Buffer.alloc(32, 7).toString("base64");
const cluster = sharedBusCluster({ servers: 1 });
let bus: ConnectedBus;
beforeAll(async () => {
  bus = await cluster().connectCore("dns");
});

/** A connection that stands still before its first update or deletion; marks of orders are created. */
function slow() {
  const [reached, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const ports = new Ports(async ({ port, when }) => {
    if (when !== "before" || (port !== "bucket.update" && port !== "bucket.delete")) return;
    reached.resolve();
    await go.promise;
  });
  return { bus: portBus(bus, ports), reached: reached.promise, go: go.resolve };
}

function contextOf(operation: string, direction: Direction): StepContext {
  const order = { operation, step: "remember", direction, epoch: direction === "do" ? 1 : 2 };
  const submission = { id: operation, createdAt: new Date().toISOString(), actor: "tester" };
  return { order, submission, clock: systemClock } as unknown as StepContext;
}

function entryOf(host: string): HostEntry {
  const operation = newOperationId() as OperationId;
  const fact = { kind: "vm" as const, id: "vm-1", addresses: ["192.0.2.1"], records: [] };
  return { entry: "host", host, ...fact, operation, at: new Date().toISOString(), by: "tester" };
}

const after = { kind: "vm" as const, id: "vm-1", addresses: ["192.0.2.2"], records: [] };

test.each([
  { name: "another address", was: "registered", after },
  { name: "the first registration", was: "unknown", after },
  { name: "a registration after a deregistration", was: "forgotten", after },
  { name: "a deregistration", was: "registered", after: null },
] as const)("$name that was undone before it was written", async ({ was, after }) => {
  const host = `${newOperationId()}.debvisor.local`;
  const hosts = new HostStore(bus);
  if (was !== "unknown") await hosts.write(host, entryOf(host), 0);
  if (was === "forgotten") await hosts.write(host, null, (await hosts.look(host)).revision);
  const before = (await hosts.get(host)) ?? null;
  const params: RememberParams = { host, before, after };
  const operation = newOperationId();
  const late = slow();
  const stepOn = (on: Bus) => rememberHostStep({ hosts: new HostStore(on), guard: new OrderGuard(on), bus: on });
  const { undo } = stepOn(bus);
  if (typeof undo !== "function") throw new Error("the step has an undo");

  const doing = stepOn(late.bus)
    .do(params, contextOf(operation, "do"))
    .then(() => "done", toDvError);
  await late.reached;
  await undo(params, contextOf(operation, "undo"));
  late.go();

  expect(await doing).toMatchObject({ code: "COMMAND_FENCED" });
  expect((await hosts.get(host)) ?? null).toEqual(before);
});

test("a phase of a rotation that was undone before it was written", async () => {
  const by = { actor: "tester", at: new Date().toISOString() };
  const noKey = () => expect.unreachable("no key is made");
  const operation = newOperationId() as OperationId;
  const ringAt = (phase: "made" | "deployed") => ({
    ...{ keys: {}, undone: null },
    rotation: { operation, phase, next: {}, switchedAt: null },
  });
  const store = new DnsStore(bus, SEAL_KEY);
  await store.changeRing(() => ({ kind: "write", ring: ringAt("made") }), noKey, by);
  const late = slow();
  const orderOn = (on: Bus, direction: Direction) => {
    const { order, clock } = contextOf(operation, direction);
    const guard = new OrderGuard(on);
    return { undoes: direction === "undo", pass: () => guard.pass(order, clock) };
  };

  const doing = new DnsStore(late.bus, SEAL_KEY)
    .changeRing(() => ({ kind: "write", ring: ringAt("deployed") }), noKey, by, orderOn(late.bus, "do"))
    .then(() => "done", toDvError);
  await late.reached;
  await store.changeRing(() => ({ kind: "done" }), noKey, by, orderOn(bus, "undo"));
  late.go();

  expect(await doing).toMatchObject({ code: "COMMAND_FENCED" });
  expect((await store.view()).ring.rotation?.phase).toBe("made");
});
