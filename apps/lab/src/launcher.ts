// SPDX-License-Identifier: Apache-2.0
/** The launcher: makes or resumes the data folder, starts the nodes, shows how the cluster forms, and stops everything. */
import { mkdirSync, rmSync } from "node:fs";
import type { Server } from "node:net";
import { join } from "node:path";
import { ERROR_CODES, type ErrorCode } from "@debvisor/proto-events/errors";
import type { TrustSeeds } from "@debvisor/shared/bus/trust";
import { systemClock } from "@debvisor/shared/clock";
import { causeChain, DvError } from "@debvisor/shared/errors";
import { locateNatsServer } from "@debvisor/shared/nats-server/locate";
import { hasFormed } from "@debvisor/shared/nats-server/member";
import { nodePaths, writePrivateFile } from "@debvisor/shared/node-files";
import { VERSION } from "@debvisor/shared/version";
import { Admission, gatewayPort } from "./admission.ts";
import { serveControl, socketPath } from "./control.ts";
import {
  addNode,
  type ClusterFile,
  json,
  type LabNode,
  labPaths,
  newCluster,
  readCluster,
  runningLauncher,
  saveCluster,
} from "./lab-files.ts";
import { ControlRequest, type NodeMessage } from "./messages.ts";
import { NodeProcess } from "./node-process.ts";
import type { LabOptions } from "./options.ts";
import { freePorts, isFree } from "./ports.ts";
import { waitUntilReady } from "./readiness.ts";

const DEFAULT_NODES = 3;
const DEFAULT_PORT = 8420;
const PORTS_PER_NODE = 6;
/** After this the launcher says what it still waits for and goes on waiting. */
const SLOW_START_MS = 60_000;

/** How the launcher speaks to the person who started it. */
export interface Terminal {
  /** Monotonic time in milliseconds at which the command was typed. */
  readonly startedAt: number;
  write(line: string): void;
  /** A path as it is shown. */
  shown(path: string): string;
}

/** A local cluster while it runs. */
export class Lab {
  readonly #options: LabOptions;
  readonly #terminal: Terminal;
  readonly #processes = new Map<string, NodeProcess>();
  readonly #ended = Promise.withResolvers<number>();
  #cluster!: ClusterFile;
  #admission!: Admission;
  #trust!: TrustSeeds;
  #natsBinary = "";
  #control: Server | undefined;
  #ready = false;
  #stopping = false;
  #changes: Promise<void> = Promise.resolve();

  constructor(options: LabOptions, terminal: Terminal) {
    this.#options = options;
    this.#terminal = terminal;
  }

  /** Runs until a signal; returns the exit code. @throws DvError when the cluster cannot be started */
  async run(): Promise<number> {
    const { dataDir } = this.#options;
    const other = runningLauncher(dataDir);
    if (other)
      throw new DvError(
        "LAB_RUNNING",
        `A cluster already runs from ${this.#terminal.shown(dataDir)} (process ${other}).`,
      );
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => this.#onSignal());
    await this.#prepare();
    try {
      await this.#start();
      return await this.#ended.promise;
    } finally {
      await this.#stop();
    }
  }

  async #prepare(): Promise<void> {
    const { dataDir, projectDir } = this.#options;
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    const kept = readCluster(dataDir);
    const { cluster, trust } = kept ?? newCluster(DEFAULT_PORT);
    cluster.port = this.#options.port ?? cluster.port;
    const count = this.#options.nodes ?? (kept ? cluster.nodes.length : DEFAULT_NODES);
    if (count < cluster.nodes.length) {
      throw new DvError(
        "INVALID_ARGUMENT",
        `The folder holds ${cluster.nodes.length} nodes; --nodes ${count} would leave some out. Choose another folder with --data.`,
      );
    }
    await this.#requireFreePorts(cluster.port, count);
    const located = await locateNatsServer({
      cacheDir: join(projectDir, ".cache", "nats"),
      fetch: true,
      log: (line) => this.#say(line),
    });
    await this.#assignPorts(cluster, count);
    this.#cluster = cluster;
    this.#trust = trust;
    this.#natsBinary = located.path;
    this.#admission = new Admission(dataDir, trust, located.path);
    this.#say(
      `${kept ? "resuming" : "new"} cluster ${cluster.cluster} with ${count} nodes in ${this.#terminal.shown(dataDir)}, nats-server ${located.version}`,
    );
  }

  async #requireFreePorts(port: number, count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      if (!(await isFree(port + i)))
        throw new DvError("PORT_BUSY", `Port ${port + i} is in use by another program; choose another with --port.`);
    }
  }

  /** Gives every node its role and ports that are free now; makes the nodes that are missing. */
  async #assignPorts(cluster: ClusterFile, count: number): Promise<void> {
    const ports = await freePorts(count * PORTS_PER_NODE);
    const servers = serverCount(count);
    for (let i = 0; i < count; i++) {
      const [client = 0, clusterPort = 0, monitor = 0, a = 0, b = 0, c = 0] = ports.slice(i * PORTS_PER_NODE);
      const own: LabNode["ports"] = { client, cluster: clusterPort, monitor, helper: [a, b, c] };
      const role = i < servers ? "server" : "worker";
      const kept = cluster.nodes[i];
      if (!kept) cluster.nodes.push(addNode(this.#options.dataDir, cluster, `node-${i + 1}`, role, own));
      else cluster.nodes[i] = { ...kept, role, ports: own };
    }
  }

  async #start(): Promise<void> {
    const { dataDir } = this.#options;
    const founder = this.#cluster.nodes[0];
    if (founder && !founder.admitted) {
      this.#change(founder, { onBus: true });
      await this.#admit(founder);
    } else await this.#refreshMemberships();
    saveCluster(dataDir, this.#cluster, this.#trust);
    this.#writeContext();
    const socket = socketPath(dataDir);
    this.#control = await serveControl(socket, ControlRequest, (request) => this.#handle(request));
    writePrivateFile(labPaths(dataDir).lab, json({ version: 1, pid: process.pid, socket }));
    for (const node of this.#cluster.nodes) this.#startNode(node);
    const started = this.#announceWhenReady();
    await Promise.race([started, this.#ended.promise]);
  }

  async #refreshMemberships(): Promise<void> {
    // Roles may have changed with the number of nodes, and a new server needs the credentials of one.
    for (const node of this.#cluster.nodes.filter(({ admitted }) => admitted))
      await this.#admission.issueCredentials(node);
    await this.#admission.writeMemberships(this.#cluster);
  }

  async #admit(node: LabNode): Promise<void> {
    await this.#admission.issueCredentials(node);
    this.#change(node, { admitted: true });
    await this.#tellMemberships();
    this.#timeline(node.name, "admitted");
  }

  /**
   * Lets the next server join the bus. One at a time: two new servers that meet before they have met the founder would have
   * a majority of three between them, elect a leader with nothing in it, and the founder's streams would be gone.
   */
  async #growBus(): Promise<void> {
    if (this.#cluster.nodes.some((node) => node.onBus && !this.#isMember(node))) return;
    const waits = ({ id, role, admitted, onBus }: LabNode) =>
      role === "server" && admitted && !onBus && this.#processes.get(id)?.running;
    const next = this.#cluster.nodes.find(waits);
    if (!next) return;
    this.#change(next, { onBus: true });
    await this.#tellMemberships();
  }

  /** True once the node's server has been a healthy member; one that died while joining is not, until it comes back. */
  #isMember(node: LabNode): boolean {
    return hasFormed(nodePaths(labPaths(this.#options.dataDir).node(node.id)).nats);
  }

  #change(node: LabNode, change: Partial<LabNode>): void {
    this.#cluster.nodes = this.#cluster.nodes.map((other) => (other.id === node.id ? { ...other, ...change } : other));
  }

  async #tellMemberships(): Promise<void> {
    await this.#admission.writeMemberships(this.#cluster);
    saveCluster(this.#options.dataDir, this.#cluster, this.#trust);
    for (const process of this.#processes.values()) process.membershipChanged();
  }

  /** Changes of membership, one after the other. */
  #enqueue(change: () => Promise<void>): void {
    this.#changes = this.#changes
      .then(change)
      .catch((error: unknown) => this.#say(`membership could not be changed: ${causeChain(error)}`));
  }

  #startNode(node: LabNode): void {
    const dir = labPaths(this.#options.dataDir).node(node.id);
    const process = new NodeProcess({
      node,
      dir,
      logFile: nodePaths(dir).log,
      natsBinary: this.#natsBinary,
      processes: this.#options.processes,
      logLevel: this.#options.logLevel,
      show: (line) => this.#ready && this.#terminal.write(line),
      onMessage: (message) => this.#onMessage(node, message),
      onExit: (how, rebooting) => this.#onExit(node, how, rebooting),
    });
    this.#processes.set(node.id, process);
  }

  #onMessage(node: LabNode, message: NodeMessage): void {
    if (message.type === "found") {
      this.#timeline(node.name, `found ${message.member} at ${message.address} by mDNS`);
      this.#enqueue(() => this.#admit(node));
      this.#enqueue(() => this.#growBus());
    } else if (message.type === "server-up") {
      this.#timeline(node.name, message.how);
      this.#enqueue(() => this.#growBus());
    } else if (message.type === "ready") {
      this.#timeline(node.name, "services started");
      // A node that was away when its turn came takes it now.
      this.#enqueue(() => this.#growBus());
    } else if (message.type === "failed" && !this.#ready) {
      const code = message.code in ERROR_CODES ? (message.code as ErrorCode) : "INTERNAL";
      this.#ended.reject(new DvError(code, `${node.name}: ${message.message}`));
    }
  }

  #onExit(node: LabNode, how: string, rebooting: boolean): void {
    if (this.#stopping) return;
    if (rebooting) {
      this.#say(`${node.name} restarts`);
      this.#startNode(node);
      return;
    }
    this.#say(
      `${node.name} ended (${how})${this.#options.respawn ? "; it is started again" : `; start it again with: npx dvctl lab start ${node.name}`}`,
    );
    if (this.#options.respawn) setTimeout(() => !this.#stopping && this.#startNode(node), 500);
  }

  async #announceWhenReady(): Promise<void> {
    const slow = setTimeout(() => this.#say("still waiting; the nodes' logs are in the data folder"), SLOW_START_MS);
    const { nodes, adminToken } = this.#cluster;
    await waitUntilReady({
      server: this.#serverUrl(0),
      token: adminToken,
      nodes: nodes.map(({ id }) => id),
      stopped: () => this.#stopping,
    });
    clearTimeout(slow);
    if (this.#stopping) return;
    this.#timeline("cluster", `ready: ${nodes.length} nodes alive`);
    this.#ready = true;
    const url = this.#serverUrl(0);
    for (const line of [
      "",
      `  API     ${url}/v1/nodes`,
      `  Docs    ${url}/docs`,
      `  Events  ${url.replace("http", "ws")}/v1/events`,
      "  Try     npx dvctl status",
      "",
    ]) {
      this.#terminal.write(line);
    }
  }

  async #handle(request: ControlRequest): Promise<unknown> {
    if (request.command === "status") return this.#status();
    const node = this.#cluster.nodes.find(({ id, name }) => id === request.node || name === request.node);
    if (!node) throw new DvError("NODE_NOT_FOUND", `The local cluster has no node ${request.node ?? "(none named)"}.`);
    const process = this.#processes.get(node.id);
    if (request.command === "start" && !process?.running) this.#startNode(node);
    if (request.command === "stop") await process?.stop();
    if (request.command === "kill") await process?.kill();
    return this.#nodeStatus(node);
  }

  #status() {
    return {
      dataDir: this.#options.dataDir,
      launcherPid: process.pid,
      nodes: this.#cluster.nodes.map((node) => this.#nodeStatus(node)),
    };
  }

  #nodeStatus(node: LabNode) {
    const process = this.#processes.get(node.id);
    const isServer = node.role === "server";
    return {
      id: node.id,
      name: node.name,
      state: process?.running ? "running" : "stopped",
      pid: process?.pid ?? null,
      natsPid: process?.natsPid ?? null,
      natsPort: isServer ? node.ports.client : null,
      gatewayUrl: isServer ? `http://127.0.0.1:${gatewayPort(this.#cluster, node)}` : null,
      services: process?.services ?? [],
    };
  }

  #serverUrl(index: number): string {
    return `http://127.0.0.1:${this.#cluster.port + index}`;
  }

  #writeContext(): void {
    const { cluster, adminToken, nodes } = this.#cluster;
    const servers = nodes.flatMap((node, index) => (node.role === "server" ? [this.#serverUrl(index)] : []));
    writePrivateFile(
      labPaths(this.#options.dataDir).context,
      json({ version: 1, cluster, servers, token: adminToken }),
    );
  }

  #onSignal(): void {
    if (this.#stopping) return;
    this.#ended.resolve(0);
  }

  async #stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#say("stopping");
    await Promise.all([...this.#processes.values()].map((process) => process.stop()));
    this.#control?.close();
    const { dataDir } = this.#options;
    for (const file of [labPaths(dataDir).lab, socketPath(dataDir)]) rmSync(file, { force: true });
    this.#say("stopped");
  }

  #timeline(who: string, what: string): void {
    if (this.#ready) this.#say(`${who}: ${what}`);
    else
      this.#terminal.write(`${seconds(systemClock.monotonic() - this.#terminal.startedAt)}  ${who.padEnd(8)} ${what}`);
  }

  #say(line: string): void {
    this.#terminal.write(`DebVisor ${VERSION}: ${line}`);
  }
}

/** Server nodes are 1, 3 or 5 (DESIGN.md 2): the most that the number of nodes allows. */
export function serverCount(nodes: number): number {
  if (nodes >= 5) return 5;
  return nodes >= 3 ? 3 : 1;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(2).padStart(6)} s`;
}
