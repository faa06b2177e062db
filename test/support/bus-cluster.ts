// SPDX-License-Identifier: Apache-2.0
/**
 * A real message bus for tests: nats-server through `BusMember` on free loopback ports in a temporary folder, the real
 * authority, streams ensured. `await using bus = await startBusCluster({ servers: 1 })`. The logs are kept only when the
 * test fails; their place is printed.
 */
import { randomBytes } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { contractsOf } from "@debvisor/proto-events/registry";
import { inboxPrefix } from "@debvisor/proto-events/subjects";
import { assetNames, ensureStreams, openAdmin, stirGroup } from "@debvisor/shared/bus/admin";
import { type ConnectedBus, type ConnectOptions, connectBus } from "@debvisor/shared/bus/connect";
import { raiseStream } from "@debvisor/shared/bus/placement";
import { connectSystem, type SystemConnection } from "@debvisor/shared/bus/system";
import { tlsOption } from "@debvisor/shared/bus/tls";
import {
  type Credential,
  type CredentialIssuer,
  commandSigners,
  createIssuer,
  createTrustSeeds,
  type ServerTrust,
  serverTrust,
  type VerifierTrust,
  verifierTrust,
} from "@debvisor/shared/bus/trust";
import type { TrustSeeds } from "@debvisor/shared/bus/trust-seeds";
import { createLogger, type Logger } from "@debvisor/shared/log";
import { locateNatsServer } from "@debvisor/shared/nats-server/locate";
import type { Authority } from "@debvisor/shared/pki/authority";
import { retry } from "@debvisor/shared/retry";
import type { JetStreamManager } from "@nats-io/jetstream";
import { errors } from "@nats-io/nats-core";
import { connect, credsAuthenticator, type NatsConnection } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, onTestFinished } from "vitest";
import { NATS_CACHE_DIR } from "../../tools/paths.ts";
import { type BusServer, busServer, filesBelow, killLeftovers } from "./bus-server.ts";
import { testAuthority, writeServerTls } from "./certificates.ts";
import { freePorts } from "./free-ports.ts";

/** How large the bus is at first. */
export interface BusClusterOptions {
  readonly servers: 1 | 3;
  /** TLS as between real nodes; default false, because most tests are not about it. */
  readonly tls?: boolean;
  /** Called with each server's folder before the server first starts. */
  readonly prepare?: (dir: string) => Promise<void>;
}

const REPLICA_PATIENCE_MS = 30_000;
const STIR_MS = 100;

/** Starts a bus. Ready when every stream and bucket is there with as many replicas as there are servers, up to 3. */
export async function startBusCluster(options: BusClusterOptions): Promise<BusCluster> {
  const log = (): void => undefined;
  const binary = (await locateNatsServer({ cacheDir: NATS_CACHE_DIR, fetch: true, log })).path;
  const seeds = createTrustSeeds();
  const trust = { server: await serverTrust(seeds), verifier: await verifierTrust(seeds) };
  const cluster = new BusCluster(binary, seeds, trust, options.tls ? await testAuthority() : undefined);
  cluster.prepare = options.prepare;
  cluster.finishIsPromised = finishWithTest(cluster);
  try {
    await cluster.found();
    if (options.servers === 3) await cluster.grow(3);
  } catch (error) {
    await cluster.finish(true);
    throw error;
  }
  return cluster;
}

/** One bus for all tests of a file, started before the first. Call it at the top of the file. */
export function sharedBusCluster(options: BusClusterOptions): () => BusCluster {
  let cluster: BusCluster | undefined;
  let failed = false;
  beforeAll(async () => {
    cluster = await startBusCluster(options);
  });
  afterEach(({ task }) => {
    failed ||= task.result?.state === "fail";
  });
  afterAll(() => cluster?.finish(failed));
  return () => {
    if (!cluster) throw new Error("the bus has not been started yet");
    return cluster;
  };
}

/** A server that joins is healthy seconds sooner when the others hear of something. */
async function stirWhile(manager: JetStreamManager, joining: Promise<void>): Promise<void> {
  let isOver = false;
  const stirring = (async () => {
    while (!isOver) {
      await stirGroup(manager).catch(() => undefined);
      await sleep(STIR_MS);
    }
  })();
  try {
    await joining;
  } finally {
    isOver = true;
    await stirring;
  }
}

/** A random node id. */
export function randomNodeId(): string {
  return Array.from(randomBytes(16), (byte) => "abcdefghijklmnopqrstuvwxyz234567"[byte % 32]).join("");
}

/** A running bus. */
export class BusCluster implements AsyncDisposable {
  /** Path of nats-server. */
  readonly binary: string;
  readonly issuer: CredentialIssuer;
  readonly trust: ServerTrust;
  /** What somebody without secrets checks signatures by; part of a membership. */
  readonly verifierTrust: VerifierTrust;
  /** Keys that nodes trust to sign who may command them. */
  readonly commandSigners: readonly string[];
  /** Logger of every connection; it writes into the temporary folder. */
  readonly log: Logger;
  readonly dir = mkdtempSync(path.join(tmpdir(), "debvisor-bus-"));
  readonly routePassword = randomBytes(16).toString("hex");
  /** Whoever holds them is the cluster's authority. */
  readonly seeds: TrustSeeds;
  /** Signs the servers' certificates; undefined in a bus without TLS. */
  readonly authority: Authority | undefined;
  readonly #servers: BusServer[] = [];
  readonly #open: { close(): Promise<void> }[] = [];
  readonly #onExit = () => killLeftovers(this.dir);
  /** As in the options. */
  prepare: BusClusterOptions["prepare"];
  /** Somebody calls `finish` after disposing. */
  finishIsPromised = false;

  constructor(
    binary: string,
    seeds: TrustSeeds,
    trust: { server: ServerTrust; verifier: VerifierTrust },
    authority: Authority | undefined,
  ) {
    this.binary = binary;
    this.verifierTrust = trust.verifier;
    this.commandSigners = commandSigners(seeds);
    this.issuer = createIssuer(seeds);
    this.trust = trust.server;
    this.seeds = seeds;
    this.authority = authority;
    this.log = createLogger({ level: "debug", destination: path.join(this.dir, "connections.log") });
    process.once("exit", this.#onExit);
  }

  /** `host:port` of every server, for clients. */
  get urls(): string[] {
    return this.#servers.map((server) => server.url);
  }

  /** How clients check the servers. */
  get tls(): { tls?: { ca: string } } {
    return this.authority ? { tls: { ca: this.authority.certificatePem } } : {};
  }

  get servers(): readonly BusServer[] {
    return this.#servers;
  }

  /** The server with this index, in the order of starting. */
  server(index: number): BusServer {
    const server = this.#servers[index];
    if (!server) throw new RangeError(`there is no server ${index}`);
    return server;
  }

  /** Starts the first server and creates the streams. */
  async found(): Promise<void> {
    await (await this.#add([])).start();
    const { manager, bus } = await this.admin();
    await ensureStreams(manager);
    await bus.close();
  }

  /** Adds servers up to `size`, then raises the replicas; `raise: false` leaves that to the caller. */
  async grow(size: number, { raise = true }: { raise?: boolean } = {}): Promise<void> {
    const { manager, bus } = await this.admin();
    // One after the other: two servers with empty stores could elect a leader between them.
    while (this.#servers.length < size) await stirWhile(manager, this.join());
    // All at once, unlike growth in earnest: nobody writes yet.
    // On a busy machine one of so many is not answered in time; asked again, it finds what was done.
    const raiseOne = (name: string) =>
      retry(() => raiseStream(manager, name, Math.min(size, 3), REPLICA_PATIENCE_MS), {
        ...{ attempts: 5, delayMs: 200 },
        isTransient: (error) => error instanceof errors.TimeoutError,
      });
    if (raise) await Promise.all(assetNames().map(raiseOne));
    await bus.close();
  }

  /** Adds a server. Resolves when it is healthy. */
  async join(): Promise<void> {
    const server = await this.#add(this.#servers.map(({ route }) => route));
    const routes = this.#servers.map(({ route }) => route);
    for (const known of this.#servers) known.setRoutes(routes);
    await server.start();
  }

  /** Stops a server for good: those that join later have no route to it. */
  async retire(server: BusServer): Promise<void> {
    await server.stop();
    this.#servers.splice(this.#servers.indexOf(server), 1);
  }

  /** Connects a service's core part. */
  async connectCore(service: string, options: Partial<ConnectOptions> = {}): Promise<ConnectedBus> {
    const node = randomNodeId();
    const credential = await this.issuer.forCore(service, node, contractsOf(service));
    return this.connect({ credential, origin: "core", node: { id: node, name: "server" }, ...options });
  }

  /** Connects a node. */
  async connectNode(id: string = randomNodeId(), options: Partial<ConnectOptions> = {}): Promise<ConnectedBus> {
    const credential = await this.issuer.forNode(id);
    const { commandSigners: signers } = this;
    return this.connect({
      credential,
      origin: id,
      node: { id, name: `node-${id}` },
      commandSigners: signers,
      ...options,
    });
  }

  /** Connects the stream administrator. */
  async admin(): Promise<{ bus: ConnectedBus; manager: JetStreamManager }> {
    const node = randomNodeId();
    const credential = await this.issuer.forStreamAdmin(node);
    const bus = await this.connect({ credential, origin: "core", node: { id: node, name: "server" } });
    return { bus, manager: await openAdmin(bus.connection) };
  }

  /** Connects as the project does; closed at the end. */
  async connect(
    options: Pick<ConnectOptions, "credential" | "origin" | "node"> & Partial<ConnectOptions>,
  ): Promise<ConnectedBus> {
    const bus = await connectBus({ servers: this.urls, version: "0.1.0", log: this.log, ...this.tls, ...options });
    this.#open.push(bus);
    return bus;
  }

  /** Connects to the system account of a server that runs; closed at the end. */
  async connectSystem(server = this.server(0)): Promise<SystemConnection> {
    const credential = await this.issuer.forSystem(randomNodeId());
    const system = await connectSystem(server.url, credential, 5_000, this.tls.tls);
    this.#open.push(system);
    return system;
  }

  /** A bare connection of the NATS client, as an attacker with that credential has it; closed at the end. */
  async connectBare(credential: Credential, servers = this.urls): Promise<NatsConnection> {
    const connection = await connect({
      servers,
      authenticator: credsAuthenticator(new TextEncoder().encode(credential.creds)),
      inboxPrefix: inboxPrefix(credential.user),
      reconnect: false,
      ...tlsOption(this.tls.tls),
    });
    this.#open.push(connection);
    return connection;
  }

  /** Stops everything. The folder goes too, unless `finish` was promised. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#open.splice(0).map((connection) => connection.close()));
    await Promise.all(this.#servers.map((server) => server.stop()));
    if (!this.finishIsPromised) await this.finish(false);
  }

  /** Stops everything and removes the folder; of a failed test the logs are kept, and their place is printed. */
  async finish(failed: boolean): Promise<void> {
    this.finishIsPromised = true;
    await this[Symbol.asyncDispose]();
    if (failed) this.#saveLogs();
    killLeftovers(this.dir);
    process.removeListener("exit", this.#onExit);
    await rm(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }

  #saveLogs(): void {
    const target = `${this.dir}-logs`;
    mkdirSync(target, { recursive: true });
    for (const file of filesBelow(this.dir, ".log")) {
      copyFileSync(file, path.join(target, path.relative(this.dir, file).replaceAll(path.sep, "-")));
    }
    process.stderr.write(`logs of the bus: ${target}\n`);
  }

  async #add(others: readonly string[]): Promise<BusServer> {
    const id = randomNodeId();
    const [port = 0, clusterPort = 0, monitorPort = 0, a = 0, b = 0, c = 0] = await freePorts(6);
    const dir = path.join(this.dir, String(this.#servers.length));
    await this.prepare?.(dir);
    const options = {
      binary: this.binary,
      dir,
      log: this.log,
      systemCredential: await this.issuer.forSystem(id),
      helperPorts: [a, b, c] as const,
      settings: {
        serverName: `${id}-1`,
        host: "127.0.0.1",
        port,
        clusterPort,
        monitorPort,
        clusterName: "test",
        routes: [...others, `127.0.0.1:${clusterPort}`],
        routePassword: this.routePassword,
        trust: this.trust,
        ...(this.authority ? { tls: await writeServerTls(path.join(dir, "tls"), this.authority) } : {}),
      },
    };
    const server = busServer(options, () => this.urls.filter((url) => url !== `127.0.0.1:${port}`));
    this.#servers.push(server);
    return server;
  }
}

/** A test knows only after its disposals how it ended, so its end removes the folder. False outside of tests. */
function finishWithTest(cluster: BusCluster): boolean {
  try {
    onTestFinished(({ task }) => cluster.finish(task.result?.state === "fail"));
    return true;
  } catch {
    return false;
  }
}
