// SPDX-License-Identifier: Apache-2.0
/**
 * A gateway over a real bus, with peers that speak the contracts of discovery and node-agent. The peers answer fixed
 * content; what is under test is the gateway and the bus between.
 */
import { createHash, randomBytes } from "node:crypto";
import type { AddressInfo } from "node:net";
import { discoveryContract, Node } from "@debvisor/proto-events/discovery";
import { contract } from "@debvisor/proto-events/kit";
import { maintenanceContract } from "@debvisor/proto-events/maintenance";
import { type Metrics, nodeAgentContract } from "@debvisor/proto-events/node-agent";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { systemClock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import type { ServiceContext } from "@debvisor/shared/service";
import { startTracing } from "@debvisor/shared/telemetry";
import { type GatewayConfig, gatewayConfig } from "../../../services/gateway/config.ts";
import { type Gateway, startGateway } from "../../../services/gateway/gateway.ts";
import { type BusCluster, randomNodeId } from "../../support/bus-cluster.ts";
import { withoutDurable } from "./stand-ins.ts";

/** A key of one role, entered when the gateway starts. */
export interface Key {
  readonly id: string;
  readonly bearer: string;
}

/** A gateway under test. */
export interface Rig extends AsyncDisposable {
  readonly url: string;
  readonly gateway: Gateway;
  readonly bus: ConnectedBus;
  readonly keys: Readonly<Record<"viewer" | "operator" | "admin", Key>>;
  /** Starts another gateway on the same bus with the same keys. */
  another(config?: object): Promise<Rig>;
}

/** What a test may do to a node. */
export interface TestNode {
  readonly id: string;
  readonly name: string;
  readonly bus: ConnectedBus;
}

const SECRETS = new WeakMap<
  BusCluster,
  Readonly<Record<"viewer" | "operator" | "admin", { id: string; secret: string }>>
>();

function secretsOf(cluster: BusCluster) {
  const known = SECRETS.get(cluster);
  if (known) return known;
  const make = (id: string) => ({ id, secret: randomBytes(32).toString("base64url") });
  const made = { viewer: make("viewerkey"), operator: make("operatorkey"), admin: make("adminkey") };
  SECRETS.set(cluster, made);
  return made;
}

/** What a gateway is started with. Rates are open unless the test sets them. */
export async function gatewayContext(
  cluster: BusCluster,
  config: object = {},
): Promise<ServiceContext<GatewayConfig> & { readonly coreBus: ConnectedBus }> {
  const bootstrapTokens = Object.entries(secretsOf(cluster)).map(([role, { id, secret }]) => ({
    id,
    name: role,
    role,
    hash: createHash("sha256").update(secret).digest("hex"),
  }));
  const bus = await cluster.connectCore("gateway");
  const id = randomNodeId();
  const open = { rates: { read: 0, change: 0, lifecycle: 0, failure: 0 } };
  return {
    config: gatewayConfig.parse({ port: 0, bootstrapTokens, ...open, ...config }),
    log: cluster.log.child({ gateway: id }),
    clock: systemClock,
    tracing: await startTracing({ service: "gateway", instance: id, version: "0.1.0", env: {} }),
    node: {
      id,
      name: "server",
      roles: ["server"],
      cluster: "test",
      version: "0.1.0",
      bootId: id,
      root: cluster.dir,
      dir: cluster.dir,
      stateDir: cluster.dir,
      addresses: ["127.0.0.1"],
      advertiseKey: new Uint8Array(32),
      trust: { operator: "", accounts: [] },
    },
    nodeBus: bus,
    coreBus: bus,
  };
}

/** Starts a gateway. */
export async function startRig(cluster: BusCluster, config: object = {}): Promise<Rig> {
  const secrets = secretsOf(cluster);
  const context = await gatewayContext(cluster, config);
  const bus = context.coreBus;
  const gateway = await startGateway(context, bus);
  await until(
    () => gateway.ready() === undefined,
    "the gateway to be ready",
    () => String(gateway.ready()),
  );
  const { port } = gateway.app.server.address() as AddressInfo;
  const scheme = context.config.tls ? "https" : "http";
  const bearer = ({ id: key, secret }: { id: string; secret: string }) => ({
    id: key,
    bearer: `Bearer dv_${key}_${secret}`,
  });
  return {
    url: `${scheme}://127.0.0.1:${port}`,
    gateway,
    bus,
    keys: { viewer: bearer(secrets.viewer), operator: bearer(secrets.operator), admin: bearer(secrets.admin) },
    another: (more = {}) => startRig(cluster, more),
    [Symbol.asyncDispose]: async () => {
      await gateway.stop();
      await bus.close();
    },
  };
}

/** Asks a gateway. `key` is the Authorization header. */
export async function ask(
  rig: Rig,
  path: string,
  init: RequestInit & { key?: string } = {},
): Promise<{ status: number; body: never; headers: Headers; text: string }> {
  const { key = rig.keys.admin.bearer, headers, ...rest } = init;
  const auth: Record<string, string> = key === "" ? {} : { authorization: key };
  const response = await fetch(`${rig.url}${path}`, {
    ...rest,
    headers: { ...auth, ...(headers as Record<string, string>) },
  });
  const text = await response.text();
  const json =
    response.headers.get("content-type")?.includes("json") && !response.headers.get("content-type")?.includes("ndjson");
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: (json && text !== "" ? JSON.parse(text) : undefined) as never,
  };
}

/** Headers of a JSON request with a fresh Idempotency-Key. */
export function keyed(key = randomBytes(8).toString("hex")): Record<string, string> {
  return { "idempotency-key": key, "content-type": "application/json" };
}

/** Waits for a condition. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  state: () => string = () => "",
  patienceMs = 20_000,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what} ${state()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Waits until a gateway has read everything that is stored: an acknowledged event may reach it a moment later. */
export async function settled(at: Rig): Promise<void> {
  const { lastSeq } = await at.bus.eventRange();
  const seq = async () => Number(/^debvisor_event_seq (\d+)$/m.exec((await ask(at, "/metrics")).text)?.[1]);
  await until(async () => (await seq()) >= lastSeq, `the gateway to read event ${lastSeq}`);
}

/** Registers nodes and answers for discovery; the nodes answer for themselves. */
export async function startPeers(
  cluster: BusCluster,
  names: readonly string[],
): Promise<{
  readonly nodes: readonly TestNode[];
  readonly discovery: ConnectedBus;
  readonly calls: string[];
  /** What discovery answers with; a test may change it. */
  readonly records: readonly Node[];
}> {
  const discovery = await cluster.connectCore("discovery");
  const registry = await discovery.bucket("dv_nodes", Node);
  const records = names.map((name) => nodeRecord(randomNodeId(), name));
  for (const record of records) await registry.create(record.id, record);
  const calls: string[] = [];
  const find = (ref: string) => {
    const node = records.find(({ id, name }) => id === ref || name === ref);
    if (!node) throw new DvError("NODE_NOT_FOUND", `No node is called ${ref}.`);
    return node;
  };
  // Nothing is in maintenance. Tests of durable operations have a stand-in of their own for the rest of this contract.
  const { getMaintenance } = maintenanceContract.operations;
  const asked = contract({ ...maintenanceContract, operations: { getMaintenance }, events: {} });
  const maintenance = await cluster.connectCore("node-agent");
  await maintenance.serve(asked, "core", { getMaintenance: () => ({ items: [] }) });
  await discovery.serve(withoutDurable(discoveryContract), "core", {
    listNodes: () => ({ items: records, nextCursor: null }),
    getNode: ({ node }: { node: string }) => find(node),
    registerNode: ({ id, name }: { id: string; name: string }) => {
      calls.push(`register ${name}`);
      return nodeRecord(id, name);
    },
    deleteNode: ({ node, reason }: { node: string; reason: string }) => {
      calls.push(`delete ${node} ${reason}`);
      if (reason === "crash") throw new Error("a bug");
      return { id: find(node).id, deleted: true };
    },
    discover: () => ({ items: [], interfaces: [] }),
  } as never);
  const nodes = await Promise.all(
    records.map(async ({ id, name }) => {
      const bus = await cluster.connectNode(id);
      await bus.serve(nodeAgentContract, "node", {
        getMetrics: () => metrics,
        getFacts: () => {
          throw new DvError("TOOL_FAILED", "lsblk failed");
        },
        checkHealth: () => {
          throw new DvError("TOOL_FAILED", "no checks here");
        },
      } as never);
      return { id, name, bus };
    }),
  );
  return { nodes, discovery, calls, records };
}

/** What every node answers to getMetrics. */
export const metrics: Metrics = {
  collectedAt: "2026-01-01T00:00:00.000Z",
  load: [0.5, 0.4, 0.3],
  cpuPercent: 3,
  memory: { totalBytes: 1, usedBytes: 1, swapUsedBytes: 0 },
  disks: [],
  networks: [],
  fileSystems: [],
  uptimeSeconds: 1,
};

/** A registry entry. */
export function nodeRecord(id: string, name: string): Node {
  return {
    id,
    name,
    state: "alive",
    roles: ["worker"],
    version: "0.1.0",
    addresses: ["127.0.0.1"],
    rack: null,
    zone: null,
    lastSeen: null,
    registeredAt: "2026-01-01T00:00:00.000Z",
    bootId: "b",
    metrics: null,
    disabled: null,
  };
}
