// SPDX-License-Identifier: Apache-2.0
/**
 * One node of the local cluster as one process: its nats-server, and its services in this process or, with `--processes`,
 * in processes of their own. Plays the part that systemd plays on a real node. Ends when the launcher does.
 */
import { parseArgs } from "node:util";
import { createMdns } from "@debvisor/shared/drivers/mdns";
import { verifyTag } from "@debvisor/shared/drivers/mdns-tag";
import { toDvError } from "@debvisor/shared/errors";
import { createLogger, type Logger } from "@debvisor/shared/log";
import type { BusMember } from "@debvisor/shared/nats-server/member";
import { memberFromFiles, startMember } from "@debvisor/shared/nats-server/member-from-files";
import { type Membership, type NodeFile, readMembership, readNode, readPreseed } from "@debvisor/shared/node-files";
import { LauncherMessage, type NodeMessage } from "./messages.ts";
import { type NodeServices, servicesHere, servicesInProcesses } from "./node-services.ts";
import { startSupervisor } from "./supervisor.ts";

const LOOPBACK = "127.0.0.1";

class LabNodeProcess {
  readonly #dir: string;
  readonly #node: NodeFile;
  readonly #nats: string;
  readonly #processes: boolean;
  readonly #log: Logger;
  readonly #admitted = Promise.withResolvers<Membership>();
  #member: BusMember | undefined;
  #services: NodeServices | undefined;
  #supervisor: { stop(): void } | undefined;
  #stopping: Promise<void> | undefined;
  /** True once the membership has been acted upon. */
  #started = false;

  constructor(options: { dir: string; nats: string; processes: boolean; log: Logger }) {
    this.#dir = options.dir;
    this.#nats = options.nats;
    this.#processes = options.processes;
    this.#log = options.log;
    this.#node = readNode(options.dir);
  }

  async run(): Promise<void> {
    const membership = readMembership(this.#dir) ?? (await this.#joinByMdns());
    // Loading the services takes about as long as the bus; both at once halve the start.
    const services = this.#processes ? servicesInProcesses(this.#dir, this.#log) : servicesHere(this.#dir, this.#log);
    this.#services = services;
    this.#supervisor = await startSupervisor({
      dir: this.#dir,
      services,
      rebootable: () => process.connected,
      reboot: () => this.#reboot(),
    });
    const busReady = this.#startBus(membership);
    await Promise.all([busReady, services.load()]);
    this.#reportState();
    await services.start(() => this.#reportState());
    send({ type: "ready" });
  }

  /** Reads the membership again: this node may have been admitted, told to start its server, or given more routes. */
  membershipChanged(): void {
    // The launcher tells everybody of every change; only our own file says what it means for us.
    const membership = readMembership(this.#dir);
    if (!membership) return;
    this.#admitted.resolve(membership);
    if (!membership.server || !this.#started) return;
    if (this.#member) this.#member.setRoutes(membership.server.routes);
    else void this.#startBus(membership);
  }

  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      this.#supervisor?.stop();
      await this.#services?.stop();
      await this.#member?.stop();
    })();
    return this.#stopping;
  }

  /** Ends in order, after telling the launcher to start this node again. */
  #reboot(): void {
    if (this.#stopping !== undefined) return;
    this.#log.info("the node restarts");
    send({ type: "reboot" });
    void this.stop().finally(() => process.exit(0));
  }

  /** Waits until mDNS shows a member of this cluster, then until the launcher has let this node in. */
  async #joinByMdns(): Promise<Membership> {
    const key = Buffer.from(readPreseed(this.#dir).advertiseKey, "base64");
    const mdns = await createMdns({
      interfaces: [LOOPBACK],
      onError: (error) => this.#log.warn({ error: String(error) }, "mDNS reported an error"),
      verify: ({ salt, tag }) => verifyTag(key, salt, tag),
    });
    const found = Promise.withResolvers<void>();
    const browse = mdns.browse(
      ({ kind, candidate }) => {
        if (kind === "gone" || !candidate.verified || candidate.instance === this.#node.id) return;
        send({ type: "found", member: candidate.txt.host, address: candidate.addresses[0] ?? LOOPBACK });
        found.resolve();
        browse.stop();
      },
      { refreshMs: 500 },
    );
    await found.promise;
    await mdns.close();
    return this.#admitted.promise;
  }

  /** Resolves when services can connect. For one that joins others that is at once: it uses their servers meanwhile. */
  async #startBus(membership: Membership): Promise<void> {
    this.#started = true;
    const member = memberFromFiles(this.#dir, this.#node, membership, this.#nats, this.#log, () => this.#reportState());
    this.#member = member;
    if (!member) return;
    const alone = member.settings.routes.length <= 1;
    const up = startMember(member).then(() => {
      send({ type: "server-up", how: alone ? "bus up, a cluster of one" : "its server is one of the bus" });
      this.#reportState();
    });
    if (alone) return await up;
    up.catch((error: unknown) => this.#stopping ?? fail(error, this.#log));
  }

  #reportState(): void {
    send({ type: "state", natsPid: this.#member?.pid ?? null, services: this.#services?.list() ?? [] });
  }
}

function send(message: NodeMessage): void {
  if (process.connected) process.send?.(message);
}

function fail(error: unknown, log: Logger): never {
  const failure = toDvError(error);
  log.fatal({ code: failure.code, cause: String(failure.cause ?? "") }, failure.message);
  send({ type: "failed", code: failure.code, message: failure.message });
  // The channel is written asynchronously; the group goes with the process.
  setTimeout(() => process.exit(failure.exitCode), 50);
  throw failure;
}

function main(): void {
  const { values } = parseArgs({
    options: {
      dir: { type: "string" },
      nats: { type: "string" },
      level: { type: "string" },
      processes: { type: "boolean" },
    },
  });
  const log = createLogger({ level: values.level ?? "info", base: { service: "node" } });
  const node = new LabNodeProcess({
    dir: values.dir ?? "",
    nats: values.nats ?? "",
    processes: values.processes ?? false,
    log,
  });
  const stop = () => void node.stop().finally(() => process.exit(0));
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  process.on("disconnect", stop);
  process.on("message", (message) => {
    if (LauncherMessage.safeParse(message).success) node.membershipChanged();
  });
  node.run().catch((error: unknown) => {
    try {
      fail(error, log);
    } catch {
      // fail() has said and scheduled everything.
    }
  });
}

// Guarded, so that the compile cache can be filled by importing this file (tools/warm-compile-cache.ts).
if (import.meta.main) main();
