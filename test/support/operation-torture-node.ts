// SPDX-License-Identifier: Apache-2.0
/**
 * A node for the torture of operations: the real node part with its ledger and folders, on a real bus. The world outside of it, a
 * supervisor of services that can restart the host, is a small one of the test that counts what it is told.
 */

import { type ChildProcess, fork } from "node:child_process";
import { randomUUID } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Closable } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { systemClock } from "@debvisor/shared/clock";
import { SupervisorRequest, type SupervisorState, supervisorSocket } from "@debvisor/shared/drivers/lab-supervisor";
import type { TargetNode } from "@debvisor/shared/operation/definition";
import type { NodeIdentity } from "@debvisor/shared/service";
import { nodeAgentConfig } from "../../services/node-agent/config.ts";
import { createHost } from "../../services/node-agent/host.ts";
import { serveOrders } from "../../services/node-agent/node-orders.ts";
import { type BusCluster, randomNodeId } from "./bus-cluster.ts";
import type { Death, NodeProcessOptions } from "./operation-torture-node-process.ts";

/** Time between being told to restart the host and the end of it, and until it is back, in milliseconds. */
const DOWN_MS = 30;

/** A step as the node's ledger has it. */
export interface LedgerRow {
  readonly step: string;
  readonly state: string;
}

/** The identity that the node part of a folder is given. */
export function nodeIdentity(id: string, name: string, dir: string): NodeIdentity {
  const stateDir = path.join(dir, "state/node-agent");
  const root = path.join(dir, "root");
  mkdirSync(stateDir, { recursive: true });
  mkdirSync(path.join(root, "etc"), { recursive: true });
  return {
    id,
    name,
    roles: ["worker"],
    cluster: "test",
    version: "0.1.0",
    bootId: randomUUID(),
    root,
    dir: stateDir,
    stateDir,
    addresses: [],
    advertiseKey: new Uint8Array(32),
    trust: { operator: "", accounts: [] },
  };
}

/** Starts the node part of an identity. */
export async function startNodePart(
  identity: NodeIdentity,
  bus: ConnectedBus,
  log: BusCluster["log"],
): Promise<Closable> {
  const config = nodeAgentConfig.parse({});
  const host = createHost(identity, config);
  return await serveOrders({ node: identity, bus, clock: systemClock, log, host, config });
}

export interface TortureNodeOptions {
  readonly zone?: string | null;
  readonly ownProcess?: boolean;
}

/** A node with one service. Its node part runs in this process, or in one of its own that can be killed. */
export class TortureNode {
  readonly #ownProcess: boolean;
  #child: ChildProcess | undefined;
  /** How often its process was killed. */
  deaths = 0;
  readonly id = randomNodeId();
  readonly name: string;
  readonly zone: string | null;
  readonly dir: string;
  readonly identity: NodeIdentity;
  readonly unit = "unit-a";
  /** Services by name, with how often each was started anew. */
  readonly #units = new Map([[this.unit, { invocation: randomUUID() as string, restarts: 0 }]]);
  /** How often the host was started anew. */
  boots = 0;
  readonly #cluster: BusCluster;
  #supervisor: Server | undefined;
  #bootId: string = randomUUID();
  #startedAt = new Date().toISOString();
  #bus: ConnectedBus | undefined;
  #orders: Closable | undefined;
  #rebooting: Promise<void> | undefined;

  constructor(cluster: BusCluster, name: string, { zone = null, ownProcess = false }: TortureNodeOptions = {}) {
    this.#cluster = cluster;
    this.#ownProcess = ownProcess;
    this.name = name;
    this.zone = zone;
    this.dir = mkdtempSync(path.join(cluster.dir, "node-"));
    this.identity = nodeIdentity(this.id, name, this.dir);
  }

  /** How often a service was started anew; of all of them when none is named. */
  restarts(unit?: string): number {
    if (unit !== undefined) return this.#units.get(unit)?.restarts ?? 0;
    return [...this.#units.values()].reduce((sum, { restarts }) => sum + restarts, 0);
  }

  /** A service of its own for one run: what comes late of the run before must not count as this one's. */
  addUnit(): string {
    const unit = `unit-${this.#units.size}`;
    this.#units.set(unit, { invocation: randomUUID(), restarts: 0 });
    return unit;
  }

  get target(): TargetNode {
    const { id, name, zone } = this;
    return { id, name, zone, rack: null, state: "alive", roles: ["worker"], version: "0.1.0" };
  }

  /** Starts supervisor and node part. */
  async start(): Promise<void> {
    await this.startSupervisor();
    await this.startPart();
  }

  async startSupervisor(): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      let text = "";
      socket.setEncoding("utf8");
      socket.on("error", () => undefined);
      socket.on("data", (chunk: string) => {
        text += chunk;
        if (!text.includes("\n")) return;
        socket.end(`${JSON.stringify({ ok: true, data: this.#obey(SupervisorRequest.parse(JSON.parse(text))) })}\n`);
      });
    });
    await new Promise<void>((resolve) => server.listen(supervisorSocket(this.dir), resolve));
    this.#supervisor = server;
  }

  async startPart(): Promise<void> {
    if (this.#ownProcess) return await this.#startProcess();
    this.#bus = await this.#cluster.connectNode(this.id);
    this.#orders = await startNodePart(this.identity, this.#bus, this.#cluster.log);
  }

  async stopPart(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child) {
      const exited = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await exited;
    }
    await this.#orders?.stop();
    await this.#bus?.close();
    this.#orders = undefined;
    this.#bus = undefined;
  }

  /** Resolves when no restart of the host is under way. */
  async settled(): Promise<void> {
    await this.#rebooting;
  }

  /** Lets the process of the node part kill itself once, and counts its points anew. */
  plan(death: Death | undefined): void {
    rmSync(path.join(this.dir, "points"), { force: true });
    if (death) writeFileSync(path.join(this.dir, "die"), JSON.stringify(death));
    else rmSync(path.join(this.dir, "die"), { force: true });
  }

  /** Points that the process has passed since the plan. */
  get points(): number {
    const file = path.join(this.dir, "points");
    return existsSync(file) ? statSync(file).size : 0;
  }

  /** Every file of a folder of the host, as far as anybody can tell from outside. Names of backups without their time. */
  folder(of: string): readonly string[] {
    const folder = path.join(this.identity.root, of);
    const lines = readdirSync(folder).map((name) => {
      const { mode } = statSync(path.join(folder, name));
      const shown = name.replace(/\.dv-backup-.*/, ".dv-backup");
      return `${shown} ${(mode & 0o7777).toString(8)} ${readFileSync(path.join(folder, name), "utf8")}`;
    });
    return lines.sort();
  }

  /** What the node's ledger has of an operation. */
  ledger(operation: string): readonly LedgerRow[] {
    const file = path.join(this.identity.stateDir, "ledger.sqlite");
    const database = new DatabaseSync(file, { readOnly: true, timeout: 5_000 });
    try {
      const rows = database.prepare("SELECT step, state FROM steps WHERE operation = ?").all(operation);
      return rows as unknown as LedgerRow[];
    } finally {
      database.close();
    }
  }

  async stop(): Promise<void> {
    await this.settled();
    await this.stopPart();
    this.#supervisor?.close();
    rmSync(this.dir, { recursive: true, force: true });
  }

  async #startProcess(): Promise<void> {
    const { id, name, dir } = this;
    const { urls: servers, commandSigners, issuer } = this.#cluster;
    const credential = await issuer.forNode(id);
    const options: NodeProcessOptions = { id, name, dir, servers, credential, commandSigners };
    const child = fork(path.join(import.meta.dirname, "operation-torture-node-process.ts"), [JSON.stringify(options)], {
      stdio: "inherit",
    });
    this.#child = child;
    child.once("exit", (code) => {
      if (this.#child !== child) return;
      if (code !== null) throw new Error(`the process of ${name} ended with ${code}`);
      this.deaths++;
      rmSync(path.join(dir, "die"), { force: true });
      this.#rebooting ??= this.#startProcess().finally(() => {
        this.#rebooting = undefined;
      });
    });
    await new Promise((resolve) => child.once("message", resolve));
  }

  #obey(request: SupervisorRequest): SupervisorState {
    const named = request.command === "restart" ? this.#units.get(request.unit) : undefined;
    if (named) {
      named.restarts++;
      named.invocation = randomUUID();
    } else if (request.command === "reboot") this.#rebooting ??= this.#reboot();
    const units = [...this.#units].map(([name, { invocation }]) => ({
      name,
      state: "running" as const,
      invocation,
      startedAt: this.#startedAt,
    }));
    return { bootId: this.#bootId, startedAt: this.#startedAt, rebootable: true, units };
  }

  async #reboot(): Promise<void> {
    this.boots++;
    await systemClock.sleep(DOWN_MS);
    await this.stopPart();
    this.#bootId = randomUUID();
    this.#startedAt = new Date().toISOString();
    await systemClock.sleep(DOWN_MS);
    await this.startPart();
    this.#rebooting = undefined;
  }
}
