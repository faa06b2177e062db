// SPDX-License-Identifier: Apache-2.0
/**
 * Services behind the gateway that speak the contracts of operations, maintenance, hosts and the audit trail over the real bus.
 * They answer fixed content and remember what they were asked; what is under test is the gateway and the bus between.
 */
import { auditContract } from "@debvisor/proto-events/audit";
import { clusterContract } from "@debvisor/proto-events/cluster";
import { discoveryContract } from "@debvisor/proto-events/discovery";
import { dnsContract } from "@debvisor/proto-events/dns";
import type { Mode, Operation } from "@debvisor/proto-events/durable";
import type { ErrorCode } from "@debvisor/proto-events/errors";
import { hostContract } from "@debvisor/proto-events/host";
import { type Contract, wireName } from "@debvisor/proto-events/kit";
import { maintenanceContract } from "@debvisor/proto-events/maintenance";
import { operationContract } from "@debvisor/proto-events/operation";
import { trustContract } from "@debvisor/proto-events/trust";
import type { RequestContext } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { DvError } from "@debvisor/shared/errors";
import type { BusCluster } from "../../support/bus-cluster.ts";

/** A request as a stand-in received it. */
export interface Asked {
  /** `<service>.<operation>`. */
  readonly action: string;
  readonly input: Record<string, unknown>;
  readonly context: Pick<RequestContext, "requestId" | "actor" | "user" | "source" | "operation" | "traceId">;
}

/** The stand-in of the engine. */
export interface Engine {
  readonly bus: ConnectedBus;
  readonly asked: Asked[];
  /** Operations that it has taken, by id. */
  readonly operations: Map<string, Operation>;
  /** Called at the beginning of every request; what it throws is the answer. */
  before: (asked: Asked) => unknown;
  stop(): Promise<void>;
}

/** Digest of every plan. */
export const DIGEST = "ab".repeat(32);
const NOW = "2026-11-21T09:12:03.117Z";

/** An operation as the stand-in answers with it. */
export function operationRecord(more: Partial<Operation> = {}): Operation {
  return {
    id: "op-k3x7w2mqabcde",
    type: "host.put-file",
    version: 1,
    state: "running",
    mode: "apply",
    targets: [],
    plan: {
      digest: DIGEST,
      targetDigest: DIGEST,
      targets: [],
      steps: [{ id: "write", title: "Write the file", target: "node-1" }],
      effects: [],
      checks: [],
      undo: "It can be undone.",
    },
    progress: { percent: 0, done: 0, total: 1, ratePerMinute: null, etaSeconds: null },
    steps: [],
    result: null,
    changed: null,
    error: null,
    actor: "adminkey",
    user: null,
    source: "127.0.0.1",
    reason: null,
    override: null,
    priority: 5,
    requestId: null,
    owner: { instance: "engine", epoch: 1 },
    waitsFor: null,
    undoable: false,
    repair: null,
    revision: 7,
    createdAt: NOW,
    startedAt: NOW,
    updatedAt: NOW,
    endedAt: null,
    deadlineAt: null,
    ...more,
  };
}

/** Starts the stand-in of the engine: every durable operation, and operations as such. */
export async function startEngine(cluster: BusCluster): Promise<Engine> {
  const bus = await cluster.connectCore("node-agent");
  const asked: Asked[] = [];
  const operations = new Map<string, Operation>();
  const listen = async (action: string, input: Record<string, unknown>, context: RequestContext) => {
    const { requestId, actor, user, source, operation, traceId } = context;
    const one = { action, input, context: { requestId, actor, user, source, operation, traceId } };
    asked.push(one);
    await engine.before(one);
  };
  const discovery = await cluster.connectCore("discovery");
  const dns = await cluster.connectCore("dns");
  const served = await Promise.all([
    ...[
      hostContract,
      maintenanceContract,
      ...[discoveryContract, clusterContract, trustContract, dnsContract].map(onlyDurable),
    ].map((contract) =>
      serve(
        { discovery, cluster: discovery, trust: discovery, dns }[contract.service] ?? bus,
        contract,
        async (name, input, context) => {
          if (name === "getMaintenance") return { items: [] };
          await listen(`${contract.service}.${name}`, input, context);
          return submit(operations, `${contract.service}.${wireName(name)}`, input, context);
        },
      ),
    ),
    serve(bus, operationContract, async (name, input, context) => {
      await listen(`operation.${name}`, input, context);
      return answerOperation(operations, name, input);
    }),
  ]);
  const engine: Engine = {
    bus,
    asked,
    operations,
    before: () => undefined,
    stop: async () => {
      await Promise.all(served.map((one) => one.stop()));
      await Promise.all([bus.close(), discovery.close(), dns.close()]);
    },
  };
  return engine;
}

/** Starts the stand-in of the audit service. */
export async function startAuditor(cluster: BusCluster): Promise<ConnectedBus> {
  const bus = await cluster.connectCore("audit");
  const sig = "A".repeat(86);
  const sealer = {
    v: 1,
    cluster: "test",
    generation: 1,
    size: 1,
    root: DIGEST,
    time: NOW,
    sealer: "audit-a",
    cred: "x",
  };
  const sealed = { checkpoint: { ...sealer, sig }, witnesses: [] };
  const answers: Readonly<Record<string, unknown>> = {
    listRecords: { items: [], lastSeq: 0, nextBefore: null },
    readTrail: { header: "{}", records: [], next: null, checkpoints: [] },
    getSeal: { sealed, witnesses: 0, records: 1, unsealed: 0, openIntents: 0, alarms: [], notes: [] },
    proveRecord: { seq: 12, record: "{}", sealed, path: [] },
  };
  await serve(bus, auditContract, (name) => answers[name]);
  return bus;
}

/** Starts the stand-in of the membership. */
export async function startMembership(cluster: BusCluster): Promise<ConnectedBus> {
  const bus = await cluster.connectCore("discovery");
  const node = "7h4bffca5nliaqzh";
  const certificate = { serial: "5b1f00c2", notAfter: NOW };
  const member = {
    ...{ id: node, name: "node-1", role: "server", state: "active", generation: 2, incarnation: 1, key: DIGEST },
    addresses: ["192.0.2.11"],
    endpoints: { host: "192.0.2.11", client: 4222, cluster: 6222, join: 8422, gateway: 8420 },
    ...{ admittedBy: "founding", admittedAt: NOW, certificate, removed: null, alive: "alive" },
  };
  const replica = {
    ...{ stream: "DV_EVENTS", server: `${node}-1`, node: "node-1", leads: true },
    ...{ messages: 1581, first: 1, last: 1581, deleted: 0, verdict: "good", why: "", readAt: NOW },
  };
  const whole = { cluster: "lab1", formation: "0a84ecbd951e61594a826696e61ffb53", foundedAt: NOW, foundedBy: node };
  const answers: Readonly<Record<string, unknown>> = {
    getCluster: {
      ...whole,
      servers: { declared: 3, active: 1, alive: 1 },
      ...{ workers: 0, joining: null, unattendedUntil: null },
    },
    listMembers: { items: [member], nextCursor: null },
    listCertificates: { items: [{ node, name: "node-1", state: "valid", ...certificate }], nextCursor: null },
    listReplicas: { items: [replica], nextCursor: null },
    checkReplicas: { askedAt: NOW },
    listPending: { items: [] },
    approveNode: { node: "mfrggzdfmztwq2lk", name: "node-4", role: "worker", until: NOW },
    acceptNode: { code: "k7qf2m9xpt", until: NOW, tries: 3, addresses: ["192.0.2.11:8422"] },
  };
  await serve(bus, withoutDurable(clusterContract), (name) => answers[name]);
  const whoConfirmed = { node, name: "node-1", role: "server", alive: "alive", current: true, confirmedAt: NOW };
  const trust = {
    ...{ generation: 1, rotatedAt: null },
    authorities: [{ fingerprint: DIGEST, notAfter: NOW, issues: true }],
    members: [{ ...whoConfirmed, generation: 1 }],
  };
  await serve(bus, withoutDurable(trustContract), () => trust);
  return bus;
}

/** Starts the stand-in of dns. */
export async function startNames(cluster: BusCluster): Promise<ConnectedBus> {
  const bus = await cluster.connectCore("dns");
  const server = {
    name: "ns1",
    address: "192.0.2.53",
    port: 53,
    role: "primary",
    zones: ["debvisor.local"],
    key: "dv-2026",
  };
  const known = { ...server, node: null, addedAt: NOW, addedBy: "adminkey" };
  const about = { fingerprint: "1b4f0e9851971998", usedBy: ["ns1"], storedAt: NOW, storedBy: "adminkey" };
  const key = { name: "dv-2026", algorithm: "hmac-sha256", purpose: null, ...about };
  const [zone, name] = ["debvisor.local", "web1.debvisor.local"];
  const record = { zone, name, type: "A", ttl: 300, data: ["192.0.2.7"] };
  const difference = { zone, name, type: "A", before: null, after: "300 192.0.2.7" };
  const answer = { server: "ns1", role: "primary", status: "same", serial: 12, detail: "" };
  const change = { id: "op-k3x7w2mqabcde", state: "succeeded", actor: "adminkey", user: null, at: NOW };
  const check = { zone, check: "key", status: "ok", code: null, serial: null, detail: "it takes dv-2026" };
  const host = {
    ...{ host: "vm7.debvisor.local", kind: "vm", id: "vm-7", addresses: ["192.0.2.17"], state: "registered" },
    ...{ code: null, detail: "", operation: change.id, registeredAt: NOW, registeredBy: "adminkey" },
    records: [{ zone, name: "vm7.debvisor.local", type: "A", data: ["192.0.2.17"] }],
  };
  const answers: Readonly<Record<string, unknown>> = {
    listHosts: { items: [host], nextCursor: null },
    ...{ listServers: { items: [known], nextCursor: null }, setServer: known, deleteServer: known },
    checkServer: { server: "ns1", verdict: "ok", checks: [check] },
    ...{ listKeys: { items: [key], nextCursor: null }, setKey: key, deleteKey: key },
    checkKey: {
      ...{ key: key.name, algorithm: key.algorithm, fingerprint: key.fingerprint, verdict: "ok" },
      checks: [{ ...check, check: "signature", server: "ns1", skewSeconds: null }],
    },
    listRecords: { items: [record], nextCursor: null },
    checkPropagation: { zone, name, propagated: true, records: [record], servers: [answer] },
    checkDnssec: { zone, verdict: "unsigned", servers: [{ ...answer, status: "unsigned", expiresAt: null }] },
    listChanges: { items: [{ ...change, undoable: true, propagated: true, records: [difference] }] },
    checkChange: {
      ...{ change: change.id, undoable: true },
      records: [{ ...difference, found: "300 192.0.2.7", status: "as-changed" }],
    },
  };
  await serve(bus, withoutDurable(dnsContract), (asked) => answers[asked]);
  return bus;
}

/** Throws an error of the catalogue. */
export function refuse(code: ErrorCode): never {
  throw new DvError(code, `refused with ${code}`);
}

/** A contract with its durable operations alone, and without them: the stand-in of the engine answers those. */
function onlyDurable(whole: Contract): Contract {
  return {
    ...whole,
    operations: Object.fromEntries(Object.entries(whole.operations).filter(([, spec]) => spec.durable)),
  };
}

export function withoutDurable(whole: Contract): Contract {
  return {
    ...whole,
    operations: Object.fromEntries(Object.entries(whole.operations).filter(([, spec]) => !spec.durable)),
  };
}

type Answer = (name: string, input: Record<string, unknown>, context: RequestContext) => unknown;

function serve(bus: ConnectedBus, contract: Contract, answer: Answer) {
  const core = Object.entries(contract.operations).filter(([, { scope }]) => scope === "core");
  const handlers = core.map(([name]) => [
    name,
    (input: Record<string, unknown>, context: RequestContext) => answer(name, input, context),
  ]);
  return bus.serve(contract, "core", Object.fromEntries(handlers) as never);
}

/** As the engine does: an id names one operation, however often it is submitted; a plan that is not the last one is stale. */
function submit(
  operations: Map<string, Operation>,
  type: string,
  input: Record<string, unknown>,
  { operation: id, actor, user, source, requestId }: RequestContext,
): Operation {
  if (!id) throw new DvError("INVALID_ARGUMENT", "The request names no operation.");
  const known = operations.get(id);
  if (known) return known;
  if (input["plan"] !== undefined && input["plan"] !== DIGEST) refuse("PLAN_STALE");
  const mode = input["mode"] as Mode;
  const made = { type, mode, actor, user: user ?? null, source: source ?? null, requestId };
  if (mode !== "apply") return operationRecord({ ...made, id: null, state: mode === "plan" ? "planned" : "checked" });
  const operation = operationRecord({ ...made, id, state: "queued" });
  operations.set(id, operation);
  return operation;
}

function answerOperation(operations: Map<string, Operation>, name: string, input: Record<string, unknown>): unknown {
  if (name === "listOperations" || name === "listLocks") return { items: [], nextCursor: null };
  const id = String(input["operation"]);
  const operation = id === "op-k3x7w2mqabcde" ? operationRecord() : operations.get(id);
  if (!operation) throw new DvError("OPERATION_NOT_FOUND", `There is no operation ${id}.`);
  if (name === "explainOperation") return { operation: id, state: operation.state, waits: [] };
  if (name === "getOperation" || name === "waitOperation") return operation;
  if (input["revision"] !== undefined && input["revision"] !== operation.revision)
    throw new DvError("CONFLICT", `The operation is at revision ${operation.revision}.`);
  const changed = { ...operation, revision: operation.revision + 1 };
  if (operations.has(id)) operations.set(id, changed);
  return changed;
}
