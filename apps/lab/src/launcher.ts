// SPDX-License-Identifier: Apache-2.0
/** The launcher: makes or resumes the data folder, starts the nodes, shows how the cluster forms, and stops everything. */
import { mkdirSync, rmSync } from "node:fs";
import type { Server } from "node:net";
import { join } from "node:path";
import { ERROR_CODES, type ErrorCode } from "@debvisor/proto-events/errors";
import { systemClock } from "@debvisor/shared/clock";
import { DvError } from "@debvisor/shared/errors";
import { locateNatsServer } from "@debvisor/shared/nats-server/locate";
import { json, nodePaths, writePrivateFile } from "@debvisor/shared/node-files";
import { VERSION } from "@debvisor/shared/version";
import { serveControl, socketPath } from "./control.ts";
import {
  addNode,
  type ClusterFile,
  type LabNode,
  labPaths,
  newCluster,
  readCluster,
  runningLauncher,
  saveCluster,
  serverCount,
} from "./lab-files.ts";
import { ControlRequest, type NodeMessage } from "./messages.ts";
import { NodeProcess } from "./node-process.ts";
import { gatewayPort, setUpNode } from "./node-setup.ts";
import type { LabOptions } from "./options.ts";
import { freePorts, isFree } from "./ports.ts";
import { declareServers, waitUntilReady } from "./readiness.ts";

const DEFAULT_NODES = 3;
const DEFAULT_PORT = 8420;
const PORTS_PER_NODE = 7;
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
  #natsBinary = "";
  #control: Server | undefined;
  #ready = false;
  #stopping = false;

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
    const count = this.#options.nodes ?? (kept ? kept.nodes.length : DEFAULT_NODES);
    const cluster = kept ?? newCluster(DEFAULT_PORT, serverCount(count));
    cluster.port = this.#options.port ?? cluster.port;
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
    await this.#addNodes(cluster, count);
    this.#cluster = cluster;
    this.#natsBinary = located.path;
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

  /** Makes the nodes that are missing: servers as far as that makes 1, 3 or 5 of them, workers otherwise. */
  async #addNodes(cluster: ClusterFile, count: number): Promise<void> {
    const missing = count - cluster.nodes.length;
    const ports = await freePorts(missing * PORTS_PER_NODE);
    const servers = cluster.nodes.filter(({ role }) => role === "server").length;
    const newServers = serverCount(servers + missing) - servers;
    for (let i = 0; i < missing; i++) {
      const [client = 0, routes = 0, monitor = 0, a = 0, b = 0, c = 0, joinPort = 0] = ports.slice(i * PORTS_PER_NODE);
      const own: LabNode["ports"] = { client, cluster: routes, monitor, helper: [a, b, c], join: joinPort };
      const name = `node-${cluster.nodes.length + 1}`;
      cluster.nodes.push(addNode(this.#options.dataDir, name, i < newServers ? "server" : "worker", own));
    }
  }

  async #start(): Promise<void> {
    const { dataDir } = this.#options;
    saveCluster(dataDir, this.#cluster);
    this.#writeContext();
    for (const node of this.#cluster.nodes) setUpNode(dataDir, this.#cluster, node, this.#natsBinary);
    const socket = socketPath(dataDir);
    this.#control = await serveControl(socket, ControlRequest, (request) => this.#handle(request));
    writePrivateFile(labPaths(dataDir).lab, json({ version: 1, pid: process.pid, socket }));
    for (const node of this.#cluster.nodes) this.#startNode(node);
    await Promise.race([this.#declareServers(), this.#ended.promise]);
    const started = this.#announceWhenReady();
    await Promise.race([started, this.#ended.promise]);
  }

  /** A cluster that is made larger has to be told how many servers it may have now; the new ones join then. */
  async #declareServers(): Promise<void> {
    const servers = serverCount(this.#cluster.nodes.filter(({ role }) => role === "server").length);
    if (servers <= this.#cluster.servers) return;
    const nodes = this.#cluster.nodes.slice(0, this.#cluster.servers).map(({ id }) => id);
    const { adminToken: token } = this.#cluster;
    const server = this.#serverUrl(0);
    await waitUntilReady({ server, token, nodes, stopped: () => this.#stopping });
    await declareServers({ server, token, servers, stopped: () => this.#stopping });
    this.#cluster = { ...this.#cluster, servers };
    saveCluster(this.#options.dataDir, this.#cluster);
    this.#timeline("cluster", `declared to have ${servers} servers`);
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
    if (message.type === "joining") this.#timeline(node.name, message.what);
    else if (message.type === "server-up") this.#timeline(node.name, message.how);
    else if (message.type === "ready") this.#timeline(node.name, "services started");
    else if (message.type === "failed" && !this.#ready) {
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

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(2).padStart(6)} s`;
}
