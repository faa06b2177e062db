// SPDX-License-Identifier: Apache-2.0
/**
 * Runs services: reads the node's files and the configuration, connects to the bus, starts, waits for a signal, drains. A
 * unit runs one service per process (`runService`); a node of the local cluster runs all of them in one (`ServiceHost`).
 */
import { randomUUID } from "node:crypto";
import { mkdirSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Uses } from "@debvisor/proto-events/kit";
import { CONTRACTS } from "@debvisor/proto-events/registry";
import type { z } from "zod";
import type { Anchor } from "./audit/trust.ts";
import { ensureStreams, openAdmin } from "./bus/admin.ts";
import { type ConnectedBus, connectBus } from "./bus/connect.ts";
import { bucketStream } from "./bus/permissions.ts";
import { systemClock } from "./clock.ts";
import { loadConfig, readEnv } from "./config.ts";
import { DvError, toDvError } from "./errors.ts";
import { createLogger, type Logger } from "./log.ts";
import { hasFormed } from "./nats-server/member.ts";
import {
  busTls,
  type Membership,
  type NodeFile,
  nodePaths,
  readCredential,
  readMembership,
  readNode,
} from "./node-files.ts";
import type { RunningService, ServiceContext, ServiceDefinition } from "./service.ts";
import { startTracing, type Tracing } from "./telemetry.ts";
import { VERSION } from "./version.ts";

const DEFAULT_NODE_DIR = "/var/lib/debvisor";
const STOP_LIMIT_MS = 3_000;
const BUS_PATIENCE_MS = 30_000;
const FORMED_LOOK_MS = 50;
/** A collector that does not answer must not hold up the end of a process. */
const TRACING_STOP_MS = 500;

/** A service that was started, with its connections. */
interface Started {
  readonly name: string;
  readonly startAgain: () => Promise<void>;
  readonly running: RunningService;
  readonly connections: readonly ConnectedBus[];
}

/** Starts services of one node in this process and stops them in reverse order. */
export class ServiceHost {
  readonly #dir: string;
  readonly #node: NodeFile;
  readonly #membership: Membership;
  readonly #log: Logger;
  readonly #started: Started[] = [];
  readonly #process: string;
  #tracing: Promise<Tracing> | undefined;

  /** @throws DATA_FOLDER_CORRUPT, or UNAVAILABLE when the node has not been admitted to a cluster yet */
  constructor(dir: string, log: Logger, processName = "node") {
    this.#dir = dir;
    this.#node = readNode(dir);
    const membership = readMembership(dir);
    if (!membership) throw new DvError("UNAVAILABLE", `The node ${this.#node.name} does not belong to a cluster yet.`);
    this.#membership = membership;
    this.#log = log;
    this.#process = processName;
  }

  /** Starts a service; does nothing for one that belongs on server nodes when this is none. */
  async start<S extends z.ZodType>(
    definition: ServiceDefinition<S>,
    flags: Readonly<Record<string, unknown>> = {},
  ): Promise<void> {
    const isServer = this.#node.roles.includes("server");
    if (definition.serversOnly && !isServer) return;
    const log = this.#log.child({ service: definition.name });
    const { values } = loadConfig(definition.config, {
      service: definition.name,
      files: configFiles(this.#dir, this.#node, definition.name),
      flags,
    });
    if (isServer) await this.#untilFormed();
    const coreBus = isServer && hasCorePart(definition) ? await this.#connectCore(definition, log) : undefined;
    const nodeBus = await this.#connectNode(log);
    const connections = coreBus ? [coreBus, nodeBus] : [nodeBus];
    const context: ServiceContext<z.output<S>> = {
      config: values,
      log,
      clock: systemClock,
      tracing: await this.#startTracing(),
      node: this.#identity(definition.name),
      nodeBus,
      coreBus,
      ...(isServer && definition.administersStreams ? { connectAdmin: () => this.#connectAdmin(log) } : {}),
    };
    let running: RunningService;
    try {
      if (context.connectAdmin) await untilReady(() => createStreams(context));
      if (coreBus) await untilReady(() => coreBus.ready(streamsOf(definition)));
      running = await definition.start(context);
    } catch (error) {
      // Whoever tries again must not leave a connection behind each time.
      await Promise.all(connections.map((bus) => bus.close()));
      throw error;
    }
    const startAgain = () => this.start(definition, flags);
    this.#started.push({ name: definition.name, startAgain, running, connections });
    log.info("service started");
  }

  /** Ends one service and returns what starts it again, with its settings as they are then. @throws NOT_FOUND */
  async end(name: string): Promise<() => Promise<void>> {
    const at = this.#started.findIndex((started) => started.name === name);
    const [started] = at < 0 ? [] : this.#started.splice(at, 1);
    if (!started) throw new DvError("NOT_FOUND", `The service ${name} does not run in this process.`);
    await this.#end(started);
    return started.startAgain;
  }

  /** Drains everything. Resolves within about 4 s even when the bus is gone. */
  async stop(): Promise<void> {
    await Promise.all(this.#started.splice(0).map((started) => this.#end(started)));
    const tracing = await this.#tracing;
    if (tracing) await Promise.race([tracing.stop().catch(() => undefined), systemClock.sleep(TRACING_STOP_MS)]);
  }

  async #end({ name, running, connections }: Started): Promise<void> {
    const inTime = await Promise.race([
      running.stop().then(() => true),
      systemClock.sleep(STOP_LIMIT_MS).then(() => false),
    ]).catch(() => true);
    if (!inTime) this.#log.warn({ service: name }, "the service did not stop in time");
    await Promise.all(connections.map((bus) => bus.close()));
  }

  /**
   * The server of this node leaves requests without an answer, for up to ten seconds, while it founds its cluster. Whoever waits
   * until that is over is quicker than one whose first requests got lost. The services of a server that joins use those of the
   * others until its own belongs.
   */
  async #untilFormed(): Promise<void> {
    const { nats } = nodePaths(this.#dir);
    if ((this.#membership.server?.routes.length ?? 0) > 1) return;
    const deadline = systemClock.monotonic() + BUS_PATIENCE_MS;
    while (!hasFormed(nats) && systemClock.monotonic() < deadline) await systemClock.sleep(FORMED_LOOK_MS);
  }

  #identity(service: string): ServiceContext["node"] {
    const stateDir = nodePaths(this.#dir).state(service);
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
    return {
      id: this.#node.id,
      name: this.#node.name,
      roles: this.#node.roles,
      cluster: this.#membership.cluster,
      version: VERSION,
      bootId: randomUUID(),
      root: this.#node.root,
      dir: this.#dir,
      stateDir,
      addresses: hostAddresses(this.#membership.server?.host),
      advertiseKey: Buffer.from(this.#membership.advertiseKey, "base64"),
      trust: anchorOf(this.#membership),
    };
  }

  /** One for the process, whatever runs in it: the SDK registers itself globally. */
  #startTracing(): Promise<Tracing> {
    this.#tracing ??= startTracing({ service: this.#process, instance: this.#node.id, version: VERSION });
    return this.#tracing;
  }

  /**
   * Each service has a connection of its own, even where all run in one process: a node's user may answer a request once, so
   * two instances that hear one `$SRV` question over one connection could not both answer it.
   */
  #connectNode(log: Logger): Promise<ConnectedBus> {
    return this.#connect("node", this.#node.id, this.#node.id, log);
  }

  #connectCore(definition: ServiceDefinition, log: Logger): Promise<ConnectedBus> {
    return this.#connect(definition.name, `${definition.name}-${this.#node.id}`, "core", log);
  }

  #connectAdmin(log: Logger): Promise<ConnectedBus> {
    return this.#connect("stream-admin", `stream-admin-${this.#node.id}`, "core", log);
  }

  async #connect(purpose: string, user: string, origin: string, log: Logger): Promise<ConnectedBus> {
    const tls = busTls(this.#dir);
    return connectBus({
      ...(tls ? { tls } : {}),
      tracing: await this.#startTracing(),
      servers: this.#membership.busServers,
      credential: readCredential(this.#dir, purpose, user),
      origin,
      node: this.#node,
      version: VERSION,
      log,
      patienceMs: BUS_PATIENCE_MS,
      commandSigners: this.#membership.commandSigners,
    });
  }
}

/** The entry of a service's `main.ts`: runs until SIGTERM or SIGINT; a second signal ends at once. */
export async function runService<S extends z.ZodType>(definition: ServiceDefinition<S>): Promise<void> {
  const { nodeDir, flags } = parseFlags(process.argv.slice(2));
  const dir = nodeDir ?? readEnv()["DV_NODE_DIR"] ?? DEFAULT_NODE_DIR;
  const log = createLogger({ level: readEnv()["DV_LOG_LEVEL"] ?? "info" });
  try {
    const host = new ServiceHost(dir, log, definition.name);
    const stopped = stopOnSignal(host, log);
    await host.start(definition, flags);
    // A supervisor that opened a channel learns that the service answers now; systemd opens none.
    process.send?.({ type: "started" }, () => undefined);
    await stopped;
  } catch (error) {
    const failure = toDvError(error);
    log.fatal({ code: failure.code, cause: String(failure.cause ?? "") }, failure.message);
    process.exitCode = failure.exitCode;
    process.exit();
  }
}

function stopOnSignal(host: ServiceHost, log: Logger): Promise<void> {
  return new Promise((resolve) => {
    let stopping = false;
    const onSignal = (signal: NodeJS.Signals) => {
      if (stopping) process.exit(1);
      stopping = true;
      log.info({ signal }, "stopping");
      void host.stop().finally(() => {
        resolve();
        process.exit(0);
      });
    };
    process.on("SIGTERM", onSignal);
    process.on("SIGINT", onSignal);
  });
}

/** `--node-dir DIR` and `--key=value` for keys of the configuration. */
function parseFlags(argv: readonly string[]): { nodeDir: string | undefined; flags: Record<string, string> } {
  const { values } = parseArgs({ args: [...argv], strict: false, options: { "node-dir": { type: "string" } } });
  const { "node-dir": nodeDir, ...rest } = values;
  const flags = Object.entries(rest).map(([key, value]) => [
    key.replace(/-([a-z])/g, (_match, letter: string) => letter.toUpperCase()),
    String(value),
  ]);
  return { nodeDir: typeof nodeDir === "string" ? nodeDir : undefined, flags: Object.fromEntries(flags) };
}

/** Presets of whoever set the node up, then the operator's file: `/etc/debvisor` on a real node, `etc` in the local cluster. */
function configFiles(dir: string, node: NodeFile, service: string): string[] {
  const operators = node.root === "/" ? "/etc/debvisor" : nodePaths(dir).etc;
  return [nodePaths(dir).presets(service), join(operators, `${service}.yaml`)];
}

function anchorOf({ trust: { operator, accounts } }: Membership): Anchor {
  return { operator, accounts: [accounts.core, accounts.nodes] };
}

function usesOf(definition: ServiceDefinition): Uses | undefined {
  return CONTRACTS.find(({ service }) => service === definition.name)?.uses;
}

function hasCorePart(definition: ServiceDefinition): boolean {
  return usesOf(definition) !== undefined;
}

async function createStreams(context: ServiceContext<unknown>): Promise<void> {
  const admin = await context.connectAdmin?.();
  if (!admin) return;
  try {
    const { created } = await ensureStreams(await openAdmin(admin.connection));
    if (created.length > 0) context.log.info({ created }, "streams created");
  } finally {
    await admin.close();
  }
}

/** Streams that must exist before the service starts. */
function streamsOf(definition: ServiceDefinition): string[] {
  const uses = usesOf(definition);
  return [...(uses?.streamsRead ?? []), ...(uses?.streamsWrite ?? []), ...(uses?.bucketsRead ?? []).map(bucketStream)];
}

/** After a restart of all servers the streams take some seconds to elect leaders. @throws BUS_UNAVAILABLE */
async function untilReady(attempt: () => Promise<void>): Promise<void> {
  const deadline = systemClock.monotonic() + BUS_PATIENCE_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (systemClock.monotonic() > deadline) throw error;
      await systemClock.sleep(100);
    }
  }
}

/** Addresses of this host; a node of the local cluster is bound to one of them. */
function hostAddresses(bound: string | undefined): string[] {
  if (bound?.startsWith("127.")) return [bound];
  return Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith("fe80:"))
    .map(({ address }) => address);
}
