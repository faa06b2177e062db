// SPDX-License-Identifier: Apache-2.0
/**
 * One node of the local cluster as one process: its nats-server, and its services in this process or, with `--processes`,
 * in processes of their own. Plays the part that systemd plays on a real node. Ends when the launcher does.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { systemClock } from "@debvisor/shared/clock";
import { toDvError } from "@debvisor/shared/errors";
import { parsePreseed } from "@debvisor/shared/join/preseed";
import { createLogger, type Logger } from "@debvisor/shared/log";
import { followFiles } from "@debvisor/shared/nats-server/follow";
import type { BusMember } from "@debvisor/shared/nats-server/member";
import { memberFromFiles, startMember } from "@debvisor/shared/nats-server/member-from-files";
import { type Membership, type NodeFile, readMembership, readNode } from "@debvisor/shared/node-files";
import { joinMachine } from "../../../services/discovery/joining/join-machine.ts";
import { openMachine } from "../../../services/discovery/joining/machine.ts";
import { renewOwnIfDue } from "../../../services/discovery/joining/own-certificate.ts";
import type { NodeMessage } from "./messages.ts";
import { type NodeServices, servicesHere, servicesInProcesses } from "./node-services.ts";
import { preseedFile } from "./node-setup.ts";
import { startSupervisor } from "./supervisor.ts";

class LabNodeProcess {
  readonly #dir: string;
  #node: NodeFile;
  readonly #nats: string;
  readonly #processes: boolean;
  readonly #log: Logger;
  readonly #stopped = new AbortController();
  #member: BusMember | undefined;
  #following: { stop(): void } | undefined;
  #services: NodeServices | undefined;
  #supervisor: { stop(): void } | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: { dir: string; nats: string; processes: boolean; log: Logger }) {
    this.#dir = options.dir;
    this.#nats = options.nats;
    this.#processes = options.processes;
    this.#log = options.log;
    this.#node = readNode(options.dir);
  }

  async run(): Promise<void> {
    const membership = readMembership(this.#dir) ?? (await this.#join());
    this.#node = readNode(this.#dir);
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

  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      this.#stopped.abort();
      this.#following?.stop();
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

  /** Finds others and joins them, or founds, as the preseed file says. */
  #join(): Promise<Membership> {
    const preseed = parsePreseed(readFileSync(preseedFile(this.#dir), "utf8"));
    return joinMachine({
      machine: openMachine(this.#dir, preseed),
      preseed,
      log: this.#log.child({ service: "join" }),
      signal: this.#stopped.signal,
      onProgress: (what) => send({ type: "joining", what }),
    });
  }

  /** Resolves when services can connect. For one that joins others that is at once: it uses their servers meanwhile. */
  async #startBus(membership: Membership): Promise<void> {
    const member = memberFromFiles(this.#dir, this.#node, membership, this.#nats, this.#log, () => this.#reportState());
    this.#member = member;
    if (!member) return;
    await renewOwnIfDue(this.#dir, systemClock, this.#log);
    this.#following = followFiles(this.#dir, member, this.#log);
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
