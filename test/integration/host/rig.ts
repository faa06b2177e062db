// SPDX-License-Identifier: Apache-2.0
/**
 * A node's part of contract host for tests: real bus, real ledger, a root folder and a data folder of its own; and the core
 * part of a server that gives it orders.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { hostContract } from "@debvisor/proto-events/host";
import type { Output, Request } from "@debvisor/proto-events/kit";
import type { Closable, Order } from "@debvisor/shared/bus/bus";
import type { ConnectedBus } from "@debvisor/shared/bus/connect";
import { systemClock } from "@debvisor/shared/clock";
import type { NodeIdentity } from "@debvisor/shared/service";
import { nodeAgentConfig } from "../../../services/node-agent/config.ts";
import { createHost } from "../../../services/node-agent/host.ts";
import { serveOrders } from "../../../services/node-agent/node-orders.ts";
import { type BusCluster, randomNodeId } from "../../support/bus-cluster.ts";

type C = typeof hostContract;

let steps = 0;

/** An order that no other has been like; change what the test is about. */
export function order(more: Partial<Order> = {}): Order {
  steps++;
  const letters = "abcdefghijklmnopqrstuvwxyz";
  const id = Array.from({ length: 13 }, (_, i) => letters[Math.floor(steps / 26 ** i) % 26]).join("");
  return { operation: `op-${id}`, step: "write", direction: "do", epoch: 1, resource: null, fence: null, ...more };
}

/** The identity that a node agent is given. */
export function identity(id: string, dir: string): NodeIdentity {
  const stateDir = path.join(dir, "state/node-agent");
  const root = path.join(dir, "root");
  mkdirSync(stateDir, { recursive: true });
  mkdirSync(path.join(root, "etc"), { recursive: true });
  return {
    id,
    name: `node-${id}`,
    roles: ["worker"],
    cluster: "test",
    version: "0.1.0",
    bootId: "test",
    root,
    dir: stateDir,
    stateDir,
    addresses: [],
    advertiseKey: new Uint8Array(32),
    trust: { operator: "", accounts: [] },
  };
}

/** A node and whoever commands it. */
export class HostRig implements AsyncDisposable {
  readonly id = randomNodeId();
  readonly dir = mkdtempSync(path.join(tmpdir(), "dv-host-"));
  readonly identity = identity(this.id, this.dir);
  readonly #cluster: BusCluster;
  #core!: ConnectedBus;
  #bus: ConnectedBus | undefined;
  #orders: Closable | undefined;

  private constructor(cluster: BusCluster) {
    this.#cluster = cluster;
  }

  static async start(cluster: BusCluster): Promise<HostRig> {
    const rig = new HostRig(cluster);
    rig.#core = await cluster.connectCore("node-agent");
    await rig.startNode();
    return rig;
  }

  get core(): ConnectedBus {
    return this.#core;
  }

  /** The node's connection. */
  get bus(): ConnectedBus {
    if (!this.#bus) throw new Error("the node has been stopped");
    return this.#bus;
  }

  get root(): string {
    return this.identity.root;
  }

  async startNode(): Promise<void> {
    const bus = await this.#cluster.connectNode(this.id);
    const config = nodeAgentConfig.parse({});
    this.#bus = bus;
    this.#orders = await serveOrders({
      node: this.identity,
      bus,
      clock: systemClock,
      log: this.#cluster.log,
      host: createHost(this.identity, config),
      config,
    });
  }

  async stopNode(): Promise<void> {
    await this.#orders?.stop();
    await this.#bus?.close();
    this.#orders = undefined;
  }

  read<K extends "getFile" | "getUnit" | "getBoot">(operation: K, input: Request<C, K>): Promise<Output<C, K>> {
    return this.#core.request(this.id, hostContract, operation, input);
  }

  command<K extends "writeFile" | "restartUnit" | "rebootHost">(
    operation: K,
    input: Request<C, K>,
    how: Order,
    timeoutMs?: number,
  ): Promise<Output<C, K>> {
    return this.#core.command(
      this.id,
      hostContract,
      operation,
      input,
      how,
      timeoutMs === undefined ? {} : { timeoutMs },
    );
  }

  write(file: string, content: string | Uint8Array | null, how: Order): Promise<Output<C, "writeFile">> {
    const target =
      content === null
        ? null
        : { contentBase64: Buffer.from(content).toString("base64"), mode: null, owner: null, group: null };
    return this.command("writeFile", { path: file, target }, how);
  }

  /** Names, modes, owners, times and contents of the folder /etc of the host. */
  etc(): unknown {
    const folder = path.join(this.root, "etc");
    return readdirSync(folder)
      .sort()
      .map((name) => {
        const { mode, uid, gid, mtimeMs, nlink } = statSync(path.join(folder, name));
        return { name, mode, uid, gid, mtimeMs, nlink, content: readFileSync(path.join(folder, name), "hex") };
      });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopNode();
    await this.#core.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Code of the error that a promise rejects with. */
export function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => "no error",
    (error: unknown) => (error as { code?: string }).code,
  );
}
