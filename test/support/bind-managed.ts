// SPDX-License-Identifier: Apache-2.0
/**
 * BIND on members: named as primary and secondary on free ports of 127.0.0.1, whose named.conf refers to keys by the lists that the node
 * agent writes, and for each a node part that writes them. `await using bind = await startManagedBind(cluster)`.
 */
import { execFile } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import type { Closable } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { systemClock } from "@debvisor/shared/clock";
import { NodeRecord } from "../../services/discovery/model/registry.ts";
import { nodeAgentConfig } from "../../services/node-agent/config.ts";
import { createHost } from "../../services/node-agent/host.ts";
import { serveOrders } from "../../services/node-agent/node-orders.ts";
import { createNameserver, type Nameserver } from "../../services/node-agent/reconcilers/nameserver.ts";
import { Named, zoneFile } from "./bind.ts";
import { type BusCluster, randomNodeId } from "./bus-cluster.ts";
import { freePorts } from "./free-ports.ts";
import { nodeIdentity } from "./operation-torture-node.ts";

const run = promisify(execFile);

/** What the guide has the file of keys begin with: a secondary has to have a primary. */
export function withoutKeys(primary: number): string {
  return `acl debvisor-node { none; };
acl debvisor-vm { none; };
acl debvisor-transfer { none; };
primaries debvisor-primaries { 127.0.0.1 port ${primary}; };
primaries debvisor-secondaries { };
`;
}

/** One server with its node. */
export interface ManagedNamed {
  readonly port: number;
  readonly node: string;
  /** The file of keys. */
  readonly file: string;
  readonly named: Named;
  /** Text of the file of keys. */
  keys(): string;
  /** Permission bits of that file. */
  mode(): number;
  /** Names of the keys in it, sorted. */
  names(): string[];
  /** The file and its reader, past every order. */
  readonly nameserver: Nameserver;
  startNode(): Promise<void>;
  stopNode(): Promise<void>;
}

export interface ManagedBind extends AsyncDisposable {
  readonly zone: string;
  readonly primary: ManagedNamed;
  readonly secondary: ManagedNamed;
  /** What a server has: `dig +short`, sorted. */
  dig(name: string, type: string, port: number): Promise<string[]>;
}

/** Starts servers and nodes; the nodes are in the registry then. */
export async function startManagedBind(cluster: BusCluster, zone = "debvisor.local"): Promise<ManagedBind> {
  const dir = mkdtempSync(path.join(tmpdir(), "debvisor-managed-"));
  const ports = await freePorts(4);
  const registry = await (await cluster.connectCore("discovery")).bucket("dv_nodes", NodeRecord);
  const rules = {
    primary: `zone "${zone}" { type primary; file "${zone}.db"; allow-update { debvisor-node; debvisor-vm; };
      allow-transfer { debvisor-transfer; debvisor-node; }; also-notify { debvisor-secondaries; }; };`,
    secondary: `zone "${zone}" { type secondary; file "${zone}.copy"; primaries { debvisor-primaries; };
      allow-notify { debvisor-transfer; }; };`,
  };
  const servers: Managed[] = [];
  for (const [i, role] of (["primary", "secondary"] as const).entries()) {
    const own = path.join(dir, role);
    mkdirSync(own);
    if (role === "primary") writeFileSync(path.join(own, `${zone}.db`), zoneFile(zone));
    const server = new Managed(
      cluster,
      { dir: own, port: ports[2 * i] ?? 0, control: ports[2 * i + 1] ?? 0, of: ports[0] ?? 0 },
      rules[role],
    );
    servers.push(server);
    const at = new Date().toISOString();
    const record = { id: server.node, name: server.name, state: "alive", roles: ["worker"], version: "0.1.0" };
    const seen = { addresses: [], lastSeen: null, registeredAt: at, bootId: "", disabled: null };
    await registry.create(server.node, NodeRecord.parse({ ...record, ...seen }));
  }
  const [primary, secondary] = servers as [Managed, Managed];
  const stop = async () => {
    await Promise.all(servers.map((server) => server.stop()));
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    await Promise.all(servers.map((server) => server.start()));
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    ...{ zone, primary, secondary },
    dig: async (name, type, port) => {
      const asked = ["-r", "@127.0.0.1", "-p", String(port), "+short", "+norec", "+time=1", name, type];
      return (await run("dig", asked)).stdout.split("\n").filter(Boolean).sort();
    },
    [Symbol.asyncDispose]: stop,
  };
}

/** A way to tell a server to read its configuration: for its named.conf, and for whoever tells it. */
export function controlOf(dir: string, port: number): { readonly rndc: readonly string[]; readonly controls: string } {
  const key = `key "rndc" { algorithm hmac-sha256; secret "${randomBytes(32).toString("base64")}"; };\n`;
  const options = `options { default-key "rndc"; default-server 127.0.0.1; default-port ${port}; };\n`;
  writeFileSync(path.join(dir, "rndc.conf"), key + options, { mode: 0o600 });
  return {
    rndc: ["rndc", "-c", path.join(dir, "rndc.conf")],
    controls: `${key} controls { inet 127.0.0.1 port ${port} allow { 127.0.0.1; } keys { "rndc"; }; };`,
  };
}

interface Place {
  readonly dir: string;
  readonly port: number;
  readonly control: number;
  /** Port of the primary. */
  readonly of: number;
}

class Managed implements ManagedNamed {
  readonly node = randomNodeId();
  readonly name = `dns-${this.node}`;
  readonly named: Named;
  readonly port: number;
  readonly file: string;
  readonly nameserver: Nameserver;
  readonly #config: { readonly bindKeys: string; readonly bindRndc: readonly string[]; readonly bindConfig: string };
  readonly #cluster: BusCluster;
  readonly #dir: string;
  #bus: ConnectedBus | undefined;
  #orders: Closable | undefined;

  constructor(cluster: BusCluster, { dir, port, control, of }: Place, zones: string) {
    this.#cluster = cluster;
    this.#dir = dir;
    this.port = port;
    this.file = path.join(dir, "debvisor.keys");
    writeFileSync(this.file, withoutKeys(of), { mode: 0o640 });
    const { rndc, controls } = controlOf(dir, control);
    const config = path.join(dir, "named.conf");
    this.nameserver = createNameserver({ root: "/", ownDir: path.join(dir, "node"), file: this.file, rndc, config });
    this.#config = { bindKeys: this.file, bindRndc: rndc, bindConfig: config };
    this.named = new Named(dir, port, `include "${this.file}";\n${zones}`, controls);
  }

  keys(): string {
    return readFileSync(this.file, "utf8");
  }

  mode(): number {
    return statSync(this.file).mode & 0o7777;
  }

  names(): string[] {
    return [...this.keys().matchAll(/^key "([^"]+)" \{/gm)].map(([, name = ""]) => name).sort();
  }

  async start(): Promise<void> {
    await this.named.start();
    await this.startNode();
  }

  async stop(): Promise<void> {
    await this.stopNode();
    await this.named.stop();
  }

  async startNode(): Promise<void> {
    const config = nodeAgentConfig.parse(this.#config);
    const identity = {
      ...nodeIdentity(this.node, this.name, path.join(this.#dir, "node")),
      root: "/",
      bootId: randomUUID(),
    };
    this.#bus = await this.#cluster.connectNode(this.node);
    const host = createHost(identity, config);
    const { log } = this.#cluster;
    this.#orders = await serveOrders({ node: identity, bus: this.#bus, clock: systemClock, log, host, config });
  }

  async stopNode(): Promise<void> {
    await this.#orders?.stop();
    await this.#bus?.close();
    this.#orders = undefined;
    this.#bus = undefined;
  }
}
